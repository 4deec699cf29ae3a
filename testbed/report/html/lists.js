// Rule: lists of cells. Results with one story are told once; each pair leads to its square.
// @ts-check

const LIST_TEXT = {
  clear: "Clear the filter", none: "None.", remedy: "Remedy: ", each: "Choose a pair to see what was measured of it.",
};
const MOST_PAIRS = 24, MOST_GROUPS = 60;

// --- which cells ---

/** @type {(state: State, phase: number) => Cell[]} */
const cellsOf = (state, phase) => CELLS[phase][state.exchange].filter((cell) => cell !== undefined);
/** The cells of all phases. @type {(state: State, test: (cell: Cell) => boolean) => Cell[]} */
const every = (state, test) => run.phases.flatMap((_, phase) => cellsOf(state, phase).filter(test));
/** The phases that are compared. @type {(state: State) => [number, number]} */
const compared = (state) => (state.view === "change" ? [state.from, state.to] : [0, LAST_PHASE]);

/** What each list holds. @type {Record<string, (state: State, view: View) => Cell[]>} */
const LISTS = {
  surprises: (state) => every(state, (cell) => cell.row.surprise),
  broken: (state) => {
    const [from, to] = compared(state);
    const before = CELLS[from][state.exchange];
    if (from === to) return [];
    return cellsOf(state, to).filter((cell) => newlyBroken({ place: cell.place, cell, before: before[cell.place] }));
  },
  lost: (state) => every(state, (cell) => cell.row.state === STATE.lost),
  cleartext: (state) => cellsOf(state, compared(state)[1]).filter((cell) => cell.kind === KIND.cleartext),
  history: (state) => every(state, (cell) => Boolean(cell.row.history_dependent)),
  disturbed: (state) => every(state, (cell) => Boolean(cell.row.interference)),
  undecided: (state) => every(state, (cell) => [STATE.inconclusive, STATE["delivered-unseen"]].includes(cell.row.state)),
  view: (_, view) => view.pairs.flatMap(({ cell }) => (cell ? [cell] : [])),
};

/** @typedef {Record<string, {all: Cell[], shown: Cell[]}>} Found per list its cells, and those that pass the filter */
/** @type {{key: string, found: Found}} */
let lists = { key: "", found: {} };
/** @type {(view: View) => Found} */
function listsOf(view) {
  const { state } = view;
  const { exchange, view: kind, from, to, phase, q, facets } = state;
  const key = JSON.stringify([exchange, kind, from, to, kind === "phase" && phase, q, facets]);
  if (lists.key === key) return lists.found;
  const toneless = { ...state, facets: { ...facets, tone: [] } }; // a tone is one of this view; other lists have other phases
  /** @type {(filter: (pair: Pair) => boolean) => (cell: Cell) => boolean} */
  const test = (filter) => (cell) => filter({ place: cell.place, cell, before: cellBefore(state, cell.place) });
  const [passes, passesHere] = [test(filterOf(toneless)), test(filterOf(state))];
  const found = Object.fromEntries(Object.entries(LISTS).map(([name, cellsIn]) => {
    const all = cellsIn(state, view);
    return [name, { all, shown: view.filtered ? all.filter(name === "view" ? passesHere : passes) : all }];
  }));
  lists = { key, found };
  return found;
}
/** The list that is open: the one that was asked for, or the first that has something. @type {(view: View) => string} */
function openList(view) {
  const { list } = view.state;
  if (list && Object.hasOwn(LISTS, list)) return list;
  const found = listsOf(view);
  return Object.keys(LISTS).find((name) => found[name].shown.length) || "view";
}

/** Whether cells of its cause are one story, although each has numbers of its own. @type {(cell: Cell) => boolean} */
const gathered = ({ row: { cause } }) => Boolean(cause && run.causes[cause]?.gathered);

/** Cells with the same story together: outcome, reason and expectation. What did not arrive comes first.
 * @type {(cells: Cell[]) => Cell[][]} */
function storiesOf(cells) {
  const told = ["state", "cause", "explanation", "remedy", "expected", "surprise", "history_dependent", "share"];
  const places = told.map((key) => run.keys.indexOf(key)).filter((place) => place >= 0);
  const measured = new Set(["explanation", "share"].map((key) => run.keys.indexOf(key))); // numbers of each cell's own
  const untold = new Set([...measured, run.keys.indexOf("expected")]); // it is shown of a surprise only
  const stories = new Map();
  for (const cell of cells) {
    const { mesh, alone } = cell.row.interference || {}; // who disturbed it differs from cell to cell
    const skipped = cell.row.surprise ? measured : untold;
    const values = gathered(cell) ? places.filter((place) => !skipped.has(place)) : places;
    const key = [...values.map((place) => run.rows[cell.row.number][place]), mesh, alone].join(" ");
    if (!stories.has(key)) stories.set(key, []);
    stories.get(key).push(cell);
  }
  const rank = [KIND.broken, KIND.unknown, KIND.cleartext, KIND.unseen, KIND.tls];
  return [...stories.values()].sort((a, b) => rank.indexOf(a[0].kind) - rank.indexOf(b[0].kind) || b.length - a.length);
}

// --- how they are shown ---

/** @type {(state: State, cell: Cell) => HTMLElement} */
function pairItem(state, { phase, sender, receiver }) {
  const inView = state.view === "change" && (phase === state.from || phase === state.to);
  /** @type {Partial<State>} */
  const change = inView ? { sender, receiver } : { view: "phase", phase, sender, receiver };
  return element("li", {}, stateLink(change, { class: "pair", "data-cell": "1" },
    numberTag(sender), domainTag(sender), " → ", numberTag(receiver), domainTag(receiver)));
}

/** The pairs of a phase; more than fit are shown when they are asked for. @type {(state: State, cells: Cell[]) => Child[]} */
function pairsIn(state, cells) {
  const phase = run.phases[cells[0].phase].name;
  const list = element("ul", { class: "pairs" }, cells.slice(0, MOST_PAIRS).map((cell) => pairItem(state, cell)));
  const rest = cells.slice(MOST_PAIRS);
  const more = button(`Show ${figure(rest.length)} more`, () => {
    const items = rest.map((cell) => pairItem(page.state, cell));
    list.append(...items);
    within(items[0], "a").focus();
    more.remove();
  }, { class: "button" });
  const heading = element("h4", { text: `in '${phase}' (${figure(cells.length)})` });
  return [run.phases.length > 1 && heading, list, rest.length > 0 && more];
}

/** One story, and the pairs that it is told of. @type {(state: State, cells: Cell[]) => HTMLElement} */
function storyBlock(state, cells) {
  const [{ row }] = cells;
  const { cause, explanation, remedy, surprise, interference, history_dependent: history, share } = row;
  const outcome = admitted(row.expected).map((expected) => expected.outcome).join(" or ") || "?";
  const because = becauseOf(row.expected);
  const phases = [...new Set(cells.map((cell) => cell.phase))];
  const several = gathered(cells[0]) && cells.some((cell) => cell.row.explanation !== explanation);
  return element("section", { class: "group" },
    element("h3", {}, outcomeSwatch(cells[0]), element("span", {}, bold(count(cells.length, "result")),
      `: ${outcomeText(cells[0])}`, cause && span(` ${cause}`, "cause"))),
    element("p", { text: several ? `${run.causes[cause || ""].means}.` : forAll(explanation) }),
    remedy && element("p", {}, bold(LIST_TEXT.remedy), span(forAll(remedy), "remedy")),
    surprise && element("p", {}, bold(`Expected: ${outcome}. `), span(forAll(because), "note")),
    interference && note(`${interference.mesh} in the mesh, ${interference.alone} alone`),
    history && note(`${history.cold} cold, ${history.warm} warm`),
    several ? note(LIST_TEXT.each) : share && note(share),
    phases.flatMap((phase) => pairsIn(state, cells.filter((cell) => cell.phase === phase))));
}

function buildTabs() {
  const tabs = byId("tabs");
  const names = Object.keys(LISTS);
  tabs.append(...names.map((name) => element("button",
    { type: "button", role: "tab", id: `tab-${name}`, "aria-controls": "list", onclick: () => go({ list: name }) },
    run.words.lists[name][0], " ", span("", "n"))));
  tabs.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: names.length - 1 }[event.key];
    if (!step) return;
    const next = names[(names.indexOf(openList(page.view)) + step) % names.length];
    event.preventDefault();
    go({ list: next });
    byId(`tab-${next}`).focus();
  });
}

/** @type {(found: Found, open: string) => void} */
function showTabs(found, open) {
  for (const name of Object.keys(LISTS)) {
    const tab = byId(`tab-${name}`);
    const number = found[name].shown.length;
    tab.setAttribute("aria-selected", String(name === open));
    tab.tabIndex = name === open ? 0 : -1;
    tab.classList.toggle("empty", !number);
    within(tab, ".n").textContent = figure(number);
  }
}

let shownList = "";
/** @type {(view: View) => void} */
function showLists(view) {
  const found = listsOf(view);
  const open = openList(view);
  showTabs(found, open);
  const panel = byId("list");
  panel.setAttribute("aria-labelledby", `tab-${open}`);
  const key = `${lists.key}|${open}`;
  if (key !== shownList) panel.replaceChildren(...present(listItems(view, open, found[open])));
  shownList = key;
}

/** @type {(view: View, name: string, found: {all: Cell[], shown: Cell[]}) => Child[]} */
function listItems({ state }, name, { all, shown }) {
  const which = name === "broken" && run.phases.length > 1 ? ` ${fromTo(...compared(state))}.` : "";
  const stories = storiesOf(shown);
  return [
    note(run.words.lists[name][1] + which),
    shown.length < all.length && element("p", { class: "warn" },
      `The filter shows ${figure(shown.length)} of ${figure(all.length)}. `,
      button(LIST_TEXT.clear, clearFilter, { class: "button" })),
    ...stories.slice(0, MOST_GROUPS).map((cells) => storyBlock(state, cells)),
    !stories.length && element("p", { text: LIST_TEXT.none }),
    stories.length > MOST_GROUPS && note(`${stories.length - MOST_GROUPS} more kinds of result: filter to see them.`),
  ];
}
