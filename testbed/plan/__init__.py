"""What will be measured, before anything starts: scenario and images read, checked and expanded into a Plan of Cells."""
