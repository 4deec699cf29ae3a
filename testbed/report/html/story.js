// Rule: what is known of one pair, in every phase: the panel beside the matrix.
// @ts-check

const STORY_TEXT = {
  noCell: "The record has no such cell.", sender: "Sender", receiver: "Receiver", yours: " ★ yours",
  back: "⇄ The way back: ", failed: "failed", close: "✕ Close",
  saw: "What everybody saw, in time order", again: "Measure this pair again, alone",
  copy: "Copy", copied: "Copied", selected: "Selected: press Ctrl+C",
  over: "Over", cause: "Cause", fix: "Fix at", remedy: "Remedy", expected: "Expected", confirmed: "Confirmed", took: "Took",
  attempts: "Attempts", evidence: "Evidence",
  differs: " A surprise: the result differs.",
  repeated: "yes: confirmed by a repeat measurement", once: "no: it was measured once",
  secret: "forward secrecy", notSecret: "no forward secrecy",
  capture: "capture of this phase", wireshark: " (opens in Wireshark)",
};
const RECORD = "observations.jsonl";
const TESTBED = ".venv/bin/testbed";
const COPIED_FOR = 2500; // milliseconds

// --- commands and files ---

/** A word of the shell: as it is if that is safe, else in single quotes. What a run is called is not to be trusted.
 * @type {(word: string) => string} */
const shell = (word) => (
  /^[A-Za-z0-9_@%+=:,./-]+$/.test(word) && !word.startsWith("-") ? word : `'${word.replaceAll("'", "'\\''")}'`);

/** How the run is named on the command line: by its id where it lies in `results/`, else by the folder of this page. */
function runName() {
  const parts = decodeURIComponent(location.pathname).split("/");
  const folder = parts.slice(0, -2);
  if (location.protocol !== "file:" || parts.at(-2) !== "derived") return run.run || "latest";
  return folder.at(-1) === run.run && folder.at(-2) === "results" ? run.run || "" : folder.join("/");
}

/** A command to be copied. @type {(...words: string[]) => HTMLElement} */
function command(...words) {
  const text = words.map(shell).join(" ");
  const code = element("code", { tabindex: "0", text });
  const copy = button(STORY_TEXT.copy, async () => {
    try {
      await navigator.clipboard.writeText(text);
      copy.textContent = STORY_TEXT.copied;
    } catch { // a page from disk may not always write to the clipboard
      getSelection()?.selectAllChildren(code);
      copy.textContent = STORY_TEXT.selected;
    }
    setTimeout(() => { copy.textContent = STORY_TEXT.copy; }, COPIED_FOR);
  }, { class: "copy", "aria-label": `${STORY_TEXT.copy}: ${text}` });
  return element("div", { class: "command" }, code, copy);
}

/** A file of the run, as a link from this page; nothing that would climb out of the run's folder.
 * @type {(path: string, text?: string) => HTMLElement} */
function fileLink(path, text = path) {
  const parts = path.split("/");
  if (parts.some((part) => part === "" || part === "." || part === "..")) return span(text);
  return element("a", { href: "../" + parts.map(encodeURIComponent).join("/"), text });
}

/** @type {(cell: Cell) => HTMLElement} */
function evidenceOf(cell) {
  const { lines } = cell;
  const phase = run.phases[cell.phase].name;
  const configurations = [cell.sender, cell.receiver].map((server) => run.servers[server].domain)
    .map((domain) => fileLink(`evidence/${phase}/config/${domain}`, `configuration of ${domain}`));
  return element("div", { class: "evidence" },
    lines.length > 0 && element("div", {}, fileLink(RECORD), ` ${lines.length === 1 ? "line" : "lines"} ${lines.join(", ")}`),
    [...cell.whole.evidence.map((path) => fileLink(path)), ...configurations].map((link) => element("div", {}, link)),
    element("div", {}, fileLink(`evidence/${phase}/s2s.pcapng.gz`, STORY_TEXT.capture), STORY_TEXT.wireshark));
}

// --- one phase ---

/** What a server was set to. @type {(role: string, server: number, phase: number) => HTMLElement} */
function sideOf(role, server, phase) {
  const { implementation, mine, unavailable } = run.servers[server];
  const { policy, certificate, meaning, unsupported } = run.phases[phase].settings[server];
  return element("div", {},
    bold(role), " ", span(`${implementation} ${versionOf(server)}`), mine && STORY_TEXT.yours,
    element("div", {}, "policy ", bold(policy), meaning && span(` (${meaning})`, "note")),
    element("div", {}, "certificate ", bold(certificate)),
    unsupported && element("div", { class: "warn", text: `this setting is unsupported: ${unsupported}` }),
    unavailable && element("div", { class: "warn", text: `unavailable: ${unavailable}` }));
}

/** The channel in words: those of the colourings, where they have any. @type {(channel: Channel) => string} */
function channelText(channel) {
  const { encryption, authentication, tls_version: version, cipher, forward_secrecy: secrecy } = channel;
  /** @type {(colouring: string, key: string | null) => string | undefined} */
  const label = (colouring, key) => run.colourings[colouring].find((tone) => tone.key === key)?.label;
  return [
    encryption === "tls" && version ? version : label("encryption", encryption),
    cipher,
    secrecy === true ? STORY_TEXT.secret : secrecy === false ? STORY_TEXT.notSecret : null,
    label("authentication", authentication),
  ].filter(Boolean).join(" · ");
}

/** What makes a result depend on more than the two servers. @type {(cell: Cell) => Child[]} */
function notesOf(cell) {
  const { history_dependent: history, explanation, flaky, share, interference } = cell.whole;
  /** @type {(...parts: Children[]) => HTMLElement} */
  const warning = (...parts) => element("p", { class: "warn" }, ...parts);
  /** @type {(outcome: unknown) => HTMLElement} */
  const outcome = (word) => bold(String(word));
  const notes = [
    history && warning("Depends on history: ", outcome(history.cold), " if the two had not talked before, ",
      outcome(history.warm), " if they had. The verdict is the former."),
    flaky && warning("Attempts of one kind disagreed: ", outcome([...new Set([flaky].flat())].join(", ")), "."),
    share && !(explanation || "").includes(share)
      && element("p", { class: flaky || history ? "warn" : "" }, "By itself this pair ", bold(share), "."),
    interference && warning("Disturbed by third parties: ", outcome(interference.mesh), " in the mesh, ",
      outcome(interference.alone), " with just the two. The verdict is the latter."),
  ];
  const by = interference && interference.by || [];
  if (by.length) {
    const domain = (/** @type {string} */ text) => element("bdi", { text });
    notes.push(element("ul", {}, by.map(({ sender, receiver, because }) => (
      element("li", {}, domain(sender), " → ", domain(receiver), because && `: ${because}`)))));
  }
  const cutOff = attemptsCut(cell);
  const storm = `${count(cutOff, "connection attempt")} without a pause between the two were cut by the testbed.`;
  return [...failuresOf(cell).map((text) => warning(text)), ...notes, cutOff > 0 && note(storm)];
}

/** Sentences about the servers of the two that failed in this phase. @type {(cell: Cell) => string[]} */
function failuresOf(cell) {
  const pair = [cell.sender, cell.receiver].map((server) => run.servers[server].domain);
  return run.failed.filter(({ phase, domain }) => phase === run.phases[cell.phase].name && pair.includes(domain))
    .map(({ text }) => text);
}

/** Connection attempts between the two that the testbed cut. @type {(cell: Cell) => number} */
function attemptsCut(cell) {
  const pair = [cell.sender, cell.receiver].map((server) => run.servers[server].domain);
  return run.storms.filter((storm) => storm.phase === run.phases[cell.phase].name)
    .filter((storm) => storm.sender !== storm.receiver && pair.includes(storm.sender) && pair.includes(storm.receiver))
    .reduce((sum, storm) => sum + storm.cut, 0);
}

/** @type {(cell: Cell) => HTMLElement} */
function expectedOf({ whole }) {
  const what = admitted(whole.expected).map(({ outcome, encryption, cause }) =>
    [outcome, outcome === "delivered" ? encryption : cause].filter(Boolean).join(", ")).join(" or ");
  const because = becauseOf(whole.expected);
  return element("span", {}, bold(what), because && `: ${because}`,
    whole.surprise && element("b", { class: "warn", text: STORY_TEXT.differs }));
}

/** @type {(cell: Cell) => Child} */
function causeOf({ row: { cause, cause_from: source } }) {
  if (!cause) return null;
  return element("span", {}, bold(cause), `: ${causeWords(cause)}`,
    source && span(` (named by: ${source})`, "note"));
}

/** @type {(cell: Cell) => [string, Child][]} */
function factsOf(cell) {
  const { cause, fault, confirmed, attempts, channel, remedy } = cell.whole;
  const { place } = run.causes[cause || ""] || {};
  const seconds = cell.seconds?.toLocaleString("en", { maximumFractionDigits: 3 });
  const took = seconds && `${seconds} s until the answer`;
  return [
    [STORY_TEXT.over, channelText(channel || { encryption: null, authentication: null })],
    [STORY_TEXT.cause, causeOf(cell)],
    [STORY_TEXT.fix, place || (fault ? run.words.faults[fault] || fault : cell.broken ? run.words.no_fault : null)],
    [STORY_TEXT.remedy, remedy && span(remedy, "remedy")],
    [STORY_TEXT.expected, expectedOf(cell)],
    [STORY_TEXT.confirmed, confirmed === true ? STORY_TEXT.repeated : confirmed === false ? STORY_TEXT.once : null],
    [STORY_TEXT.took, took],
    [STORY_TEXT.attempts, attempts ? String(attempts) : null],
    [STORY_TEXT.evidence, evidenceOf(cell)],
  ];
}

/** @type {(state: State, sender: number, receiver: number, phase: number, open: boolean) => HTMLElement} */
function phaseCard(state, sender, receiver, phase, open) {
  const cell = CELLS[phase][state.exchange][sender * SERVERS + receiver];
  const title = element("summary", {}, outcomeSwatch(cell),
    element("span", {}, bold(`In '${run.phases[phase].name}': `), outcomeText(cell)),
    cell && cell.row.surprise && span("surprise", "badge"));
  const sides = [sideOf(STORY_TEXT.sender, sender, phase), sideOf(STORY_TEXT.receiver, receiver, phase)];
  if (!cell) return element("details", { class: "card", open }, title, element("p", { text: STORY_TEXT.noCell }), sides);
  return element("details", { class: "card", open }, title,
    element("p", { class: "say", text: cell.whole.explanation || "" }),
    notesOf(cell), factList(factsOf(cell)), element("div", { class: "sides" }, sides));
}

// --- the panel ---

/** @type {(view: View, sender: number, receiver: number) => HTMLElement[]} */
function storyOf({ state }, sender, receiver) {
  const shown = shownPhase(state);
  const others = run.phases.map((_, phase) => phase).filter((phase) => phase !== shown);
  const few = run.phases.length <= 2;
  const names = [run.servers[sender].domain, run.servers[receiver].domain];
  return [
    element("div", { class: "bar" }, wayBack(state, sender, receiver), button(STORY_TEXT.close, closeStory, { class: "button" })),
    element("h3", { id: "story-heading", tabindex: "-1" }, numberTag(sender), " ", domainTag(sender),
      span(" → "), numberTag(receiver), " ", domainTag(receiver)),
    ...(state.view === "change" ? [changeLine(state, sender * SERVERS + receiver)] : []),
    phaseCard(state, sender, receiver, shown, true),
    ...others.map((phase) => phaseCard(state, sender, receiver, phase, state.view === "change" && phase === state.from && few)),
    element("h4", { text: STORY_TEXT.saw }), command(TESTBED, "explain", runName(), ...names),
    element("h4", { text: STORY_TEXT.again }), command(TESTBED, "rerun", runName(), ...names),
  ];
}

/** @type {(state: State, sender: number, receiver: number) => Child} */
function wayBack(state, sender, receiver) {
  const back = CELLS[shownPhase(state)][state.exchange][receiver * SERVERS + sender];
  if (!back) return null;
  const text = back.broken ? back.row.cause || STORY_TEXT.failed : outcomeText(back);
  return stateLink({ sender: receiver, receiver: sender }, { class: "button back" },
    STORY_TEXT.back, outcomeSwatch(back), span(text));
}

/** What changed for the pair. @type {(state: State, place: number) => HTMLElement} */
function changeLine({ from, to, exchange }, place) {
  const change = changeBetween(CELLS[from][exchange][place], CELLS[to][exchange][place]);
  return element("p", { class: "change" }, swatch("change", change),
    element("span", {}, `${fromTo(from, to)}: `, bold(run.colourings.change[change].label)));
}

/** The chosen pair's story, or why pairs failed. @type {(view: View) => void} */
function showStory(view) {
  const panel = byId("story");
  const { sender, receiver, exchange } = view.state;
  const chosen = sender !== null && receiver !== null && planned(exchange, sender * SERVERS + receiver);
  panel.replaceChildren(...(chosen ? storyOf(view, sender, receiver) : reasonsOf(view)));
  if (chosen && page.followStory) {
    byId("story-heading").focus({ preventScroll: true });
    if (innerWidth < NARROW_WINDOW) panel.scrollIntoView({ block: "start" });
  }
  page.followStory = false;
}
