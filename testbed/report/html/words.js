// Rule: servers, pairs, groups and numbers as words. Strings only; what Python has words for comes with the data.
// @ts-check

const TEXT = {
  unknownVersion: "(version unknown)",
  itself: "a server does not write to itself",
  unplanned: "not planned",
  filteredOut: "does not pass the filter",
  sender: "the sender",
  receiver: "the receiver",
  open: "the standards leave it open",
};

/** @type {(number: number) => string} */
const figure = (number) => number.toLocaleString("en");
/** @type {(number: number, noun: string) => string} */
const count = (number, noun) => `${figure(number)} ${number === 1 ? noun : noun + "s"}`;

/** @type {(server: number) => string} */
const versionOf = (server) => run.servers[server].version || TEXT.unknownVersion;
/** The server's number, with a star if it is the user's. @type {(server: number) => string} */
const numberText = (server) => run.servers[server].number + (run.servers[server].mine ? "★" : "");
/** Two phases. @type {(from: number, to: number) => string} */
const fromTo = (from, to) => `From '${run.phases[from].name}' to '${run.phases[to].name}'`;
/** A cause in plain words; `""`: none. @type {(cause: string) => string} */
const causeWords = (cause) => (cause ? (run.causes[cause] || {}).words || cause : run.words.no_cause);
/** The servers whose setting is in the way. @type {(group: Mend) => string} */
const mendText = ({ attribute, label, servers }) => (
  `${count(servers.length, "server")} ${attribute === "policy" ? "set to" : "with the certificate"} '${label}'`);
/** The outcome of a cell, as the legend has it. @type {(cell?: Cell) => string} */
const outcomeText = (cell) => run.colourings.outcome[cell ? cell.state : STATE.missing].label;

/** A text that is said of many pairs at once. There the domain only repeats the role. @type {(text: string | null) => string} */
const forAll = (text) => named(text || "", TEXT.sender, TEXT.receiver).replace(/(the (?:sender|receiver)), \1/g, "$1");

/** Everything that would be as expected: one, or more where the standards leave it open.
 * @type {(expected: Expectation | null | undefined) => Expectation[]} */
const admitted = (expected) => (expected ? [expected, ...(expected.alternatives || [])] : []);
/** The clause that says what is expected; where it is open, the clause of each outcome.
 * @type {(expected: Expectation | null | undefined) => string} */
function becauseOf(expected) {
  const choices = admitted(expected);
  if (choices.length < 2) return choices[0]?.because || "";
  return `${TEXT.open}: ${choices.map(({ outcome, because }) => `${outcome} by ${because}`).join("; ")}`;
}

/** What a square is, in one line: the tip, and what a screen reader says.
 * @type {(view: View, sender: number, receiver: number) => string} */
function describe(view, sender, receiver) {
  if (sender === receiver) return `${run.servers[sender].domain}: ${TEXT.itself}`;
  const place = sender * SERVERS + receiver;
  const { state, colouring } = view;
  const cell = CELLS[shownPhase(state)][state.exchange][place];
  const [from, to] = [sender, receiver].map((server) => `${numberText(server)} ${run.servers[server].domain}`);
  if (view.tones[place] === NO_TONE) return `${from} to ${to}: ${TEXT.unplanned}`;
  return [
    `${from} to ${to}`,
    run.colourings[colouring][view.tones[place]].label,
    cell && cell.broken && colouring !== "cause" ? cell.row.cause || run.words.unknown_cause : "",
    cell && cell.row.surprise ? run.words.marks.surprise : "",
    cell && cell.row.share || "",
    view.filtered && !view.passing[place] ? TEXT.filteredOut : "",
  ].filter(Boolean).join(", ");
}
