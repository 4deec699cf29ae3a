// Rule: while no pair is chosen: why pairs of this view failed and where that could be fixed; each reason leads to its pairs.
// @ts-check

const REASON_TEXT = {
  choose: "Choose a square for its story.", chooseReason: "Choose a reason to see its pairs, or a square for its story.",
  broke: "Why pairs broke", fix: "How to fix it", oneSide: "cannot be fixed from one side",
};

/** How many cells have which value, the most first.
 * @type {(cells: Cell[], value: (cell: Cell) => string) => [string, number][]} */
function tallied(cells, value) {
  const counts = new Map();
  for (const cell of cells) counts.set(value(cell), (counts.get(value(cell)) || 0) + 1);
  return [...counts].sort((a, b) => b[1] - a[1]);
}

/** A reason with its share, leading to its pairs.
 * @type {(change: Partial<State>, text: string, number: number, all: number) => HTMLElement} */
function reasonItem(change, text, number, all) {
  return element("li", {}, stateLink({ ...change, q: "", list: "view" }, {}, bold(figure(number)), " ", text),
    element("meter", { min: "0", max: String(all), value: String(number), "aria-hidden": "true" }));
}

/** @type {(view: View) => HTMLElement[]} */
function reasonsOf(view) {
  const { state, pairs } = view;
  const changes = state.view === "change";
  const broken = pairs.flatMap((pair) => (pair.cell && pair.cell.broken && (!changes || newlyBroken(pair)) ? [pair.cell] : []));
  if (!broken.length) return [element("h3", { text: nothingText(view) }), note(REASON_TEXT.choose)];
  /** @type {Record<string, string[]>} */
  const facets = changes ? { mark: ["newly-broken"] } : {};
  const groups = Object.fromEntries(run.mends.map((group) => [mendKey(group), mendText(group)]));
  const causes = tallied(broken, ({ row }) => row.cause || "");
  const mends = tallied(broken, ({ row }) => (row.mend === null ? "" : mendKey(run.mends[row.mend])));
  return [
    element("h3", { text: changes ? REASON_TEXT.broke : `Why pairs failed in '${run.phases[state.phase].name}'` }),
    element("ul", { class: "reasons" }, causes.map(([cause, number]) => (
      reasonItem({ by: "cause", facets: { ...facets, cause: [cause] } }, causeWords(cause), number, broken.length)))),
    element("h3", { text: REASON_TEXT.fix }),
    element("ul", { class: "reasons" }, mends.map(([key, number]) => (
      reasonItem({ facets: { ...facets, mend: [key] } }, key ? groups[key] : REASON_TEXT.oneSide, number, broken.length)))),
    note(REASON_TEXT.chooseReason),
  ];
}

/** What cannot be said is never called sound. @type {(view: View) => string} */
function nothingText(view) {
  const changes = view.state.view === "change";
  const { open, incomparable } = tallyOf(view);
  if (open || (changes && incomparable)) return `Nothing is known to have ${changes ? "broken" : "failed"}`;
  return `Nothing ${changes ? "broke" : "failed"}`;
}
