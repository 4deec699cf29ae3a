"""Does an image, or what a user brings, keep its promise? Boots it, and proves each claim on the wire."""
