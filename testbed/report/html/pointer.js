// Rule: what a click, a hover and a key in the matrix mean. The address changes by `go`; elements of the matrix are in matrix.js.
// @ts-check

const NARROW_WINDOW = 900; // the story stands below the matrix

/** Keys that walk: row and column -> where they lead.
 * @type {Record<string, (layout: Layout, row: number, column: number, ctrl: boolean) => [number, number]>} */
const WALKS = {
  ArrowUp: (_, row, column) => [row - 1, column],
  ArrowDown: (_, row, column) => [row + 1, column],
  ArrowLeft: (_, row, column) => [row, column - 1],
  ArrowRight: (_, row, column) => [row, column + 1],
  PageUp: (layout, row, column) => [nextBand(layout.rows, row, -1), column],
  PageDown: (layout, row, column) => [nextBand(layout.rows, row, 1), column],
  Home: (_, row, __, ctrl) => [ctrl ? 0 : row, 0],
  End: (layout, row, _, ctrl) => [ctrl ? layout.rows.servers.length - 1 : row, layout.columns.servers.length - 1],
};
const WITH_CTRL = ["Home", "End"];

/** The pair that can be chosen under the pointer. @type {(event: PointerEvent | MouseEvent) => Spot} */
function pairUnder(event) {
  const { layout, view } = page;
  if (!layout) return null;
  const box = pane.getBoundingClientRect();
  const [x, y] = [event.clientX - box.left - pane.clientLeft, event.clientY - box.top - pane.clientTop];
  const pair = pairAt(layout, visibleFrame(), x, y);
  return pair && pair[0] !== pair[1] && view.tones[pair[0] * SERVERS + pair[1]] !== NO_TONE ? pair : null;
}

/** Where the keyboard is in the matrix. @type {(layout: Layout) => [number, number]} */
function startOf({ rows, columns }) {
  return page.focus || chosenPair() || [rows.servers[0], columns.servers[Math.min(1, columns.servers.length - 1)]];
}
/** @type {(layout: Layout | null) => boolean} */
const hasSquares = (layout) => Boolean(layout && layout.rows.servers.length && layout.columns.servers.length);

/** @type {(event: KeyboardEvent) => void} */
function onKey(event) {
  const { layout } = page;
  if (event.altKey || event.metaKey || (event.ctrlKey && !WITH_CTRL.includes(event.key))) return;
  if (!layout || !hasSquares(layout)) return;
  const [senders, receivers] = [layout.rows.servers, layout.columns.servers];
  const [sender, receiver] = startOf(layout);
  const [row, column] = [Math.max(0, senders.indexOf(sender)), Math.max(0, receivers.indexOf(receiver))];
  if (event.key === "Escape") {
    if (chosenPair()) go({ sender: null, receiver: null });
  } else if (event.key === "Enter" || event.key === " ") {
    event.preventDefault();
    choose(senders[row], receivers[column], true);
  } else if (Object.hasOwn(WALKS, event.key)) {
    event.preventDefault();
    const [nextRow, nextColumn] = WALKS[event.key](layout, row, column, event.ctrlKey);
    const [lastRow, lastColumn] = [senders.length - 1, receivers.length - 1];
    focusOn(senders[Math.max(0, Math.min(lastRow, nextRow))], receivers[Math.max(0, Math.min(lastColumn, nextColumn))]);
  }
}

/** Show a pair's story; `follow` takes the reader there. @type {(sender: number, receiver: number, follow: boolean) => void} */
function choose(sender, receiver, follow) {
  const { state } = page;
  if (sender === receiver || !planned(state.exchange, sender * SERVERS + receiver)) return;
  page.focus = [sender, receiver];
  page.followStory = follow || pane.clientWidth < NARROW || innerWidth < NARROW_WINDOW;
  if (state.sender === sender && state.receiver === receiver) show();
  else go({ sender, receiver });
}

/** Leave the story for the matrix. */
function closeStory() {
  go({ sender: null, receiver: null });
  pane.focus({ preventScroll: true });
}

/** @type {(event: PointerEvent) => void} */
function onMove(event) {
  if (event.pointerType === "touch") return;
  const tip = byId("tip");
  const [before, now] = [page.hover, pairUnder(event)];
  if (before?.join() !== now?.join()) {
    page.hover = now;
    pane.style.cursor = now ? "pointer" : "";
    tip.hidden = !now;
    if (now) tip.textContent = describe(page.view, ...now);
    redraw();
  }
  if (!now) return;
  const [x, below] = [event.clientX + 14, event.clientY + 18];
  tip.style.left = `${Math.max(4, Math.min(innerWidth - tip.offsetWidth - 8, x))}px`;
  tip.style.top = `${below + tip.offsetHeight > innerHeight ? event.clientY - tip.offsetHeight - 10 : below}px`;
}

function onLeave() {
  page.hover = null;
  byId("tip").hidden = true;
  redraw();
}

function listenToPointer() {
  pane.addEventListener("pointermove", onMove);
  pane.addEventListener("pointerleave", onLeave);
  pane.addEventListener("click", (event) => {
    const pair = pairUnder(event);
    if (pair) choose(...pair, false);
  });
  pane.addEventListener("keydown", onKey);
  pane.addEventListener("focus", () => {
    if (page.layout && hasSquares(page.layout)) focusOn(...startOf(page.layout), false);
  });
  pane.addEventListener("blur", redraw);
}
