// Rule: the matrix's elements: its pane, its canvas, the two cells that a screen reader hears of; when they are drawn and set.
// One canvas of the pane's size is drawn anew when it is scrolled, so that its cost does not grow with the square of the servers.
// @ts-check

const pane = byId("matrix");
const canvas = /** @type {HTMLCanvasElement} */ (byId("matrix-canvas"));

/** @type {TextWidth} */
function textWidth(text, font) {
  const context = contextOf(canvas);
  if (context.font !== font) context.font = font;
  return context.measureText(text).width;
}

/** @type {() => Frame} */
const visibleFrame = () => ({ width: pane.clientWidth, height: pane.clientHeight, x: pane.scrollLeft, y: pane.scrollTop });

let laidOutFor = 0;
/** Place everything anew: the view or the pane's width is another one. */
function layOut() {
  const width = laidOutFor = pane.clientWidth;
  if (!width) return;
  const layout = page.layout = layoutOf(page.view, width, textWidth);
  const room = byId("matrix-room");
  room.style.width = `${layout.width}px`;
  room.style.height = `${layout.height}px`;
  pane.style.height = `${paneHeight(layout, width, innerHeight)}px`;
  pane.setAttribute("aria-rowcount", String(layout.rows.servers.length));
  pane.setAttribute("aria-colcount", String(layout.columns.servers.length));
}

let waiting = false;
/** Draw with the next frame. */
function redraw() {
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => {
    waiting = false;
    paint(Math.max(1, devicePixelRatio || 1), visibleFrame());
  });
}

/** @type {(scale: number, frame: Frame, paper?: boolean) => void} */
function paint(scale, frame, paper = false) {
  const { view, layout } = page;
  if (!layout) return;
  fitCanvas(frame, scale);
  const context = contextOf(canvas);
  context.setTransform(scale, 0, 0, scale, 0, 0);
  const spots = paper ? { chosen: null, focus: null, hover: null } : spotsNow();
  const scene = sceneOf(view, layout, frame, spots, textWidth);
  drawMatrix(context, scene, paintsOf(view.colouring, isDark() && !paper), coloursOf(paper));
}

/** @type {(frame: Frame, scale: number) => void} */
function fitCanvas(frame, scale) {
  const [width, height] = [Math.round(frame.width * scale), Math.round(frame.height * scale)];
  if (canvas.width === width && canvas.height === height) return;
  Object.assign(canvas, { width, height });
  canvas.style.width = `${frame.width}px`;
  canvas.style.height = `${frame.height}px`;
}

/** @type {() => Spot} */
function chosenPair() {
  const { sender, receiver } = page.state;
  return sender === null || receiver === null ? null : [sender, receiver];
}
/** @type {() => {chosen: Spot, focus: Spot, hover: Spot}} */
const spotsNow = () => ({ chosen: chosenPair(), focus: document.activeElement === pane ? page.focus : null, hover: page.hover });

/** Move the matrix's focus to a pair, bring it into view, and let it be said.
 * @type {(sender: number, receiver: number, scroll?: boolean) => void} */
function focusOn(sender, receiver, scroll = true) {
  page.focus = [sender, receiver];
  const { layout } = page;
  const place = layout && placeOf(layout, sender, receiver);
  if (!layout || !place) return;
  const [x, y] = [layout.columns.at[place[1]], layout.rows.at[place[0]]];
  if (scroll) {
    pane.scrollLeft = scrollTo(x, layout.side, pane.scrollLeft, pane.clientWidth - layout.left);
    pane.scrollTop = scrollTo(y, layout.side, pane.scrollTop, pane.clientHeight - layout.top);
  }
  saySquare(place, { x: layout.left + x, y: layout.top + y, width: layout.side, height: layout.side });
  redraw();
}

let spokenCell = 0;
/** Two cells take turns, so that a screen reader hears of a new one each time.
 * @type {(place: [number, number], box: Box) => void} */
function saySquare([row, column], box) {
  const [sender, receiver] = /** @type {[number, number]} */ (page.focus);
  spokenCell = 1 - spokenCell;
  const cell = byId(`matrix-cell-${spokenCell}`);
  byId(`matrix-row-${spokenCell}`).setAttribute("aria-rowindex", String(row + 1));
  cell.setAttribute("aria-colindex", String(column + 1));
  cell.setAttribute("aria-label", describe(page.view, sender, receiver));
  cell.setAttribute("aria-selected", String(page.state.sender === sender && page.state.receiver === receiver));
  cell.style.transform = `translate(${box.x}px, ${box.y}px)`;
  cell.style.width = `${box.width}px`;
  cell.style.height = `${box.height}px`;
  pane.setAttribute("aria-activedescendant", cell.id);
}

/** The matrix whole, for paper. */
function paintForPaper() {
  layOut();
  if (page.layout) paint(2, { width: page.layout.width, height: page.layout.height, x: 0, y: 0 }, true);
}

/** Place and draw it when the pane gets another width, and for paper. */
function listenToSize() {
  new ResizeObserver(() => {
    if (laidOutFor === pane.clientWidth) return;
    layOut();
    redraw();
  }).observe(pane);
  pane.addEventListener("scroll", redraw, { passive: true });
  addEventListener("beforeprint", paintForPaper);
  addEventListener("afterprint", () => { layOut(); redraw(); });
}
