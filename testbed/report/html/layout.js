// Rule: where rows, columns and headings stand, in CSS pixels. Pure functions; how wide a text is comes in as a function.
// @ts-check

/** @typedef {(text: string, font: string) => number} TextWidth width of a text in pixels */
/**
 * A group with its place.
 * @typedef {object} Span
 * @property {number} start place of its first server
 * @property {number} stop place after its last
 * @property {string} label
 * @property {number} at
 * @property {number} length
 */
/**
 * Rows or columns with their places, from the first square's edge.
 * @typedef {object} Line
 * @property {number[]} servers
 * @property {number[]} at
 * @property {number} length
 * @property {Span[]} bands
 * @property {Span[]} subbands
 */
/**
 * @typedef {object} Layout
 * @property {boolean} narrow
 * @property {number} side a square, with the gap after it
 * @property {number} square the same without the gap
 * @property {Line} rows
 * @property {Line} columns
 * @property {number} left width of the headings of rows
 * @property {number} bandWidth
 * @property {number} subWidth
 * @property {number} top height of the headings of columns
 * @property {number} bandHeight
 * @property {number} subHeight
 * @property {number} numberHeight
 * @property {string[][]} bandLines the bands' headings over the columns, in lines
 * @property {boolean} turned whether those do not fit across, and run upwards
 * @property {number} width of the whole matrix
 * @property {number} height
 */
/**
 * The part of the matrix that is drawn.
 * @typedef {object} Frame
 * @property {number} width
 * @property {number} height
 * @property {number} x how far it is scrolled
 * @property {number} y
 */

const NARROW = 560;
const BAND_GAP = 0.42, SUBBAND_GAP = 0.14; // as a share of a square
const GAP_SIDE = 26; // a larger square makes no larger gap
const SMALLEST_FIT = 5, LARGEST_FIT = 38;
const LOWEST_LABEL = 11; // pixels that a label needs across its direction
const LINE_HEIGHT = 15;
const PLAIN = "400", STRONG = "600", BOLD = "700";
/** @type {(weight: string, size?: number) => string} */
const fontOf = (weight, size = 12) => `${weight} ${size}px system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif`;

/** Space before each server, as a share of a square. @type {(axis: Axis) => number[]} */
function gapsOf(axis) {
  const gaps = new Array(axis.servers.length).fill(0);
  for (const group of axis.subbands) if (group.start) gaps[group.start] = SUBBAND_GAP;
  for (const group of axis.bands) if (group.start) gaps[group.start] = BAND_GAP;
  return gaps;
}

/** @type {(axis: Axis, side: number) => Line} */
function lineOf(axis, side) {
  let next = 0;
  const at = gapsOf(axis).map((gap) => {
    const start = next + Math.round(gap * Math.min(side, GAP_SIDE));
    next = start + side;
    return start;
  });
  /** @type {(group: Group) => Span} */
  const spanOf = (group) => ({ ...group, at: at[group.start], length: at[group.stop - 1] + side - at[group.start] });
  return { servers: axis.servers, at, length: next, bands: axis.bands.map(spanOf), subbands: axis.subbands.map(spanOf) };
}

/** The text, cut to a width in pixels; nothing where not even three letters fit.
 * @type {(text: string, width: number, font: string, textWidth: TextWidth) => string} */
function cut(text, width, font, textWidth) {
  if (textWidth(text, font) <= width) return text;
  let keep = text.length;
  while (keep > 0 && textWidth(text.slice(0, keep) + "…", font) > width) keep--;
  return keep >= 3 ? text.slice(0, keep) + "…" : "";
}

/** A label in one line or two: `name@release` is parted before the release.
 * @type {(text: string, width: number, font: string, textWidth: TextWidth) => string[]} */
function linesOf(text, width, font, textWidth) {
  if (textWidth(text, font) <= width) return [text];
  const at = Math.max(text.indexOf("@"), text.indexOf(" "));
  const lines = at > 0 ? [text.slice(0, at), text.slice(at)] : [text];
  return lines.map((line) => cut(line.trim(), width, font, textWidth));
}
/** @type {(lines: string[], text: string) => boolean} */
const isWhole = (lines, text) => lines.join("").replace(" ", "") === text.replace(" ", "");

/** The places of everything in a pane of a width. @type {(view: View, width: number, textWidth: TextWidth) => Layout} */
function layoutOf(view, width, textWidth) {
  const narrow = width < NARROW;
  /** @type {(texts: string[], most: number, font?: string) => number} */
  const widest = (texts, most, font = fontOf(BOLD)) => ( // bold, as they are when they are pointed at
    Math.min(most, Math.ceil(Math.max(0, ...texts.map((text) => textWidth(text, font))))));
  /** @type {(groups: Group[]) => string[]} */
  const labels = (groups) => groups.map((group) => group.label);
  const units = view.columns.servers.length + gapsOf(view.columns).reduce((sum, gap) => sum + gap, 0);
  /** @type {(left: number) => number} */
  const sideBeside = (left) => view.state.size
    || Math.max(SMALLEST_FIT, Math.min(LARGEST_FIT, Math.floor((width - left - 4) / Math.max(1, units))));

  const numberWidth = widest(run.servers.map((_, server) => numberText(server)), 60) + 10;
  const bandWidth = !view.rows.bands.length ? 0 : narrow ? 17 : widest(labels(view.rows.bands), 190) + 10;
  let subWidth = view.rows.subbands.length ? widest(labels(view.rows.subbands), narrow ? 92 : 200) + 8 : 0;
  let side = sideBeside(bandWidth + subWidth + numberWidth);
  if (subWidth && !view.rows.subbands.some((group) => (group.stop - group.start) * side >= LOWEST_LABEL)) {
    subWidth = 0; // too low to be written beside
    side = sideBeside(bandWidth + numberWidth);
  }
  const [rows, columns] = [lineOf(view.rows, side), lineOf(view.columns, side)];

  const bandLines = columns.bands.map((band) => linesOf(band.label, band.length, fontOf(STRONG), textWidth));
  const turned = columns.bands.some((band, number) => !isWhole(bandLines[number], band.label) && band.length >= LOWEST_LABEL);
  const most = Math.max(0, ...bandLines.map((lines) => lines.length));
  const bandHeight = turned ? widest(labels(columns.bands), narrow ? 100 : 170, fontOf(STRONG)) + 8
    : most * LINE_HEIGHT + (most ? 4 : 0);
  const subHeight = columns.subbands.some((group) => group.length >= 10)
    ? widest(labels(columns.subbands), narrow ? 84 : 190) + 8 : 0;
  const numberHeight = side < 9 ? 4 : side >= numberWidth - 6 ? 17 : numberWidth;
  const left = bandWidth + subWidth + numberWidth;
  const top = Math.max(bandHeight + subHeight + numberHeight, 34);
  const square = side - (side > 12 ? 1 : side > 7 ? 0.5 : 0);
  const [wide, high] = [left + columns.length + 2, top + rows.length + 2];
  return { narrow, side, square, rows, columns, left, bandWidth, subWidth, top, bandHeight, subHeight, numberHeight, bandLines,
    turned, width: wide, height: high };
}

/** Height of the pane that the matrix is scrolled in. @type {(layout: Layout, width: number, windowHeight: number) => number} */
function paneHeight(layout, width, windowHeight) {
  const scrollbar = layout.width > width ? 16 : 0;
  return Math.min(layout.height + 2 + scrollbar, Math.max(320, windowHeight * 0.86));
}

/** Row and column of a pair; null if one of them is not shown.
 * @type {(layout: Layout, sender: number, receiver: number) => [number, number] | null} */
function placeOf(layout, sender, receiver) {
  const [row, column] = [layout.rows.servers.indexOf(sender), layout.columns.servers.indexOf(receiver)];
  return row < 0 || column < 0 ? null : [row, column];
}

/** Sender and receiver whose square is at a point of the pane; null beside the squares.
 * @type {(layout: Layout, frame: Frame, x: number, y: number) => [number, number] | null} */
function pairAt(layout, frame, x, y) {
  if (x < layout.left || y < layout.top) return null;
  /** @type {(line: Line, at: number) => number} */
  const find = (line, at) => line.at.findIndex((start) => at >= start && at < start + layout.side);
  const row = find(layout.rows, y - layout.top + frame.y);
  const column = find(layout.columns, x - layout.left + frame.x);
  return row < 0 || column < 0 ? null : [layout.rows.servers[row], layout.columns.servers[column]];
}

/** How far to scroll in one direction, so that a square is seen.
 * @type {(at: number, side: number, scrolled: number, room: number) => number} */
function scrollTo(at, side, scrolled, room) {
  const start = at < scrolled ? at - 4 : scrolled;
  return at + side > start + room ? at + side - room + 4 : start;
}

/** The row or column where the next group begins, in the direction of `step`; else the last or first.
 * @type {(line: Line, at: number, step: 1 | -1) => number} */
function nextBand(line, at, step) {
  const starts = line.bands.map((band) => band.start);
  const start = step > 0 ? starts.find((each) => each > at) : starts.findLast((each) => each < at);
  return start ?? (step > 0 ? line.servers.length - 1 : 0);
}
