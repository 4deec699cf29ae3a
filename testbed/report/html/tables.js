// Rule: what does not depend on the state: how failures can be fixed, causes with their definitions, servers with their settings.
// @ts-check

const TABLE_TEXT = {
  failures: "Failures: ", show: "Show them", causes: "Causes", causeColumns: ["Cause", "What it means", "Remedies"],
  servers: "Servers", serverColumns: ["No.", "Domain", "Software", "Version"], policies: "What the policies mean",
  mine: "★: your own server.",
};
const MOST_SERVERS = 12, MOST_REMEDIES = 8;

/** Cells of the exchange, by phase. @type {(state: State, test: (row: Row) => boolean) => Cell[][]} */
const byPhase = (state, test) => run.phases.map((_, phase) => cellsOf(state, phase).filter((cell) => test(cell.row)));

/** @type {(remedies: string[]) => HTMLElement} */
const remedyList = (remedies) => element("ul", {},
  remedies.slice(0, MOST_REMEDIES).map((text) => element("li", {}, span(forAll(text), "remedy"))));

/** A table that is scrolled sideways where it does not fit.
 * @type {(label: string, attributes: Record<string, any>, head: Children, rows: Child[]) => HTMLElement} */
function tableOf(label, attributes, head, rows) {
  return element("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": label },
    element("table", attributes, element("thead", {}, element("tr", {}, head)), element("tbody", {}, rows)));
}

/** @type {(state: State) => void} */
function showTables(state) {
  const mends = run.mends.map((group, number) => mendBlock(state, group, number));
  byId("mends").replaceChildren(...present(mends));
  byId("mends-section").hidden = !mends.some(Boolean);
  const causes = causeRows(state);
  byId("causes").replaceChildren(...present(causes.length ? [causeTable(causes)] : []));
  byId("causes-section").hidden = !causes.length;
  byId("servers").replaceChildren(...present([serverTable(), ...policyMeanings(), mineNote()]));
}

// --- how to fix it ---

/** @type {(state: State, group: Mend, number: number) => Child} */
function mendBlock(state, group, number) {
  const counts = byPhase(state, (row) => row.mend === number).flatMap((cells, phase) => (
    cells.length ? [[bold(figure(cells.length)), ` in '${run.phases[phase].name}'`]] : []));
  if (!counts.length) return null;
  const more = group.servers.length - MOST_SERVERS;
  return element("section", { class: "group" },
    element("h3", { text: mendText(group) }),
    element("p", {}, TABLE_TEXT.failures, commas(counts), ". ",
      stateLink({ facets: { mend: [mendKey(group)] }, q: "", list: "view" }, { "data-jump": "matrix", text: TABLE_TEXT.show })),
    element("p", { class: "note" },
      commas(group.servers.slice(0, MOST_SERVERS).map((server) => [numberTag(server), domainTag(server)])),
      more > 0 && ` and ${more} more`),
    remedyList(group.remedies));
}

// --- causes ---

/** @typedef {{name: string, cells: Cell[][], total: number}} CauseRow */
/** @type {(state: State) => CauseRow[]} */
function causeRows(state) {
  return Object.keys(run.causes).map((name) => {
    const cells = byPhase(state, (row) => row.cause === name);
    return { name, cells, total: cells.flat().length };
  }).filter(({ total }) => total).sort((a, b) => b.total - a.total);
}

/** @type {(causes: CauseRow[]) => HTMLElement} */
function causeTable(causes) {
  const phases = run.phases.map((phase) => element("th", { class: "right", text: phase.name }));
  const [cause, means, remedies] = TABLE_TEXT.causeColumns.map((text) => element("th", { text }));
  const head = [cause, ...phases, means, remedies];
  return tableOf(TABLE_TEXT.causes, { class: "stack" }, head, causes.map(causeRow));
}

/** @type {(cause: CauseRow) => HTMLElement} */
function causeRow({ name, cells }) {
  const { words, means, clause, remedy, failed } = run.causes[name];
  const phase = cells.findLastIndex((each) => each.length);
  const remedies = new Set(cells.flat().map((cell) => forAll(cell.row.remedy)).filter((text) => text && text !== remedy));
  return element("tr", {},
    element("td", {}, stateLink({ by: "cause", view: "phase", phase, facets: { cause: [name] }, q: "", list: "view" },
      { "data-jump": "matrix", text: name })),
    cells.map((each, number) => (
      element("td", { class: "right", "data-label": run.phases[number].name, text: figure(each.length) }))),
    element("td", {}, element("div", { text: `${failed ? "It failed" : "Not decided"}: ${words}.` }),
      means && means !== words && element("div", { class: "note", text: `Exactly: ${means}${clause && ` (${clause})`}.` })),
    element("td", {}, remedy && element("div", { text: `In general: ${remedy}.` }), remedyList([...remedies])));
}

// --- servers ---

function serverTable() {
  const phases = run.phases.map((phase) => element("th", { text: `in '${phase.name}'` }));
  const head = [...TABLE_TEXT.serverColumns.map((text) => element("th", { text })), ...phases];
  return tableOf(TABLE_TEXT.servers, {}, head, run.servers.map((_, server) => serverRow(server)));
}

/** @type {(server: number) => HTMLElement} */
function serverRow(server) {
  const { implementation, unavailable } = run.servers[server];
  /** @type {(text: string | null) => Child} */
  const warning = (text) => text && element("div", { class: "warn", text });
  return element("tr", {},
    element("td", { class: "right", text: numberText(server) }), element("td", {}, domainTag(server)),
    element("td", { text: implementation }), element("td", { text: versionOf(server) }),
    run.phases.map((phase) => phase.settings[server]).map(({ policy, certificate, unsupported }) => (
      element("td", {}, bold(policy), ` · ${certificate}`, warning(unsupported), warning(unavailable)))));
}

/** @type {() => HTMLElement[]} */
function policyMeanings() {
  const meanings = new Map(run.phases.flatMap((phase) => phase.settings.map(({ policy, meaning }) => [policy, meaning])));
  return [element("h3", { text: TABLE_TEXT.policies }), factList([...meanings])];
}
/** @type {() => Child} */
const mineNote = () => run.servers.some((server) => server.mine) && note(TABLE_TEXT.mine);
