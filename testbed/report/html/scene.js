// Rule: what one drawing of the matrix shows, and where: squares, rings, headings. Pure functions; nothing is drawn here.
// @ts-check

/**
 * A text of the headings.
 * @typedef {object} Label
 * @property {string} text
 * @property {number} x
 * @property {number} y
 * @property {string} font
 * @property {boolean} faint
 * @property {"left" | "center" | "right"} align
 * @property {boolean} turned whether it runs upwards
 */
/** @typedef {{x: number, y: number, width: number, height: number}} Box */
/** @typedef {{x: number, y: number, thick: number}} Ring */
/** @typedef {{box: Box, labels: Label[]}} Heading labels, cut off at the box */
/**
 * @typedef {object} Scene
 * @property {Frame} frame
 * @property {Box} field where squares are drawn
 * @property {number} side a square, with the gap after it
 * @property {number} square the same without the gap
 * @property {{server: number, at: number}[]} rows those in the frame
 * @property {{server: number, at: number}[]} columns
 * @property {Int16Array} tones by place
 * @property {Uint8Array} surprises by place
 * @property {Uint8Array | null} passing by place; null where there is no filter
 * @property {boolean} marks whether squares are large enough for marks
 * @property {boolean} corners
 * @property {Ring[]} rings around pairs that are chosen or pointed at
 * @property {Heading[]} headings
 */
/** Sender and receiver that the reader is at. @typedef {[number, number] | null} Spot */
/** @typedef {{chosen: Spot, focus: Spot, hover: Spot}} Spots */

const SMALLEST_MARKED = 9, SMALLEST_CORNERED = 5;
const DIRECTIONS = { columns: "receives →", rows: "sends ↓" };

/** @type {(view: View, layout: Layout, frame: Frame, spots: Spots, textWidth: TextWidth) => Scene} */
function sceneOf(view, layout, frame, spots, textWidth) {
  const { left, top, side, square } = layout;
  const { tones, surprises } = view;
  const field = { x: left, y: top, width: frame.width - left, height: frame.height - top };
  /** @type {(line: Line, from: number, start: number, end: number) => {server: number, at: number}[]} */
  const seen = (line, from, start, end) => line.servers.map((server, place) => ({ server, at: from + line.at[place] }))
    .filter(({ at }) => at + side >= start && at <= end);
  const [sender, receiver] = spots.hover || spots.focus || spots.chosen || [null, null];
  return { frame, field, side, square, tones, surprises, passing: view.filtered ? view.passing : null,
    rows: seen(layout.rows, top - frame.y, top, frame.height), columns: seen(layout.columns, left - frame.x, left, frame.width),
    marks: side >= SMALLEST_MARKED, corners: side >= SMALLEST_CORNERED, rings: ringsOf(layout, frame, spots),
    headings: [
      { box: { x: 0, y: top, width: left, height: field.height }, labels: rowLabels(layout, frame, sender, textWidth) },
      { box: { x: left, y: 0, width: field.width, height: top }, labels: columnLabels(layout, frame, receiver, textWidth) },
      { box: { x: 0, y: 0, width: left, height: top }, labels: directionLabels(layout) },
    ] };
}

/** @type {(layout: Layout, frame: Frame, spots: Spots) => Ring[]} */
function ringsOf(layout, frame, { chosen, focus, hover }) {
  /** @type {(spot: Spot, thick: number) => Ring[]} */
  const ring = (spot, thick) => {
    const place = spot && placeOf(layout, ...spot);
    if (!place) return [];
    const [x, y] = [layout.left + layout.columns.at[place[1]] - frame.x, layout.top + layout.rows.at[place[0]] - frame.y];
    return [{ x, y, thick }];
  };
  return [...ring(chosen, 3), ...ring(focus, 3), ...ring(hover, 1.5)];
}

/** Numbers are left out where there is no room for each. @type {(layout: Layout) => number} */
const everyNumber = (layout) => (layout.side >= LOWEST_LABEL ? 1 : Math.ceil(LOWEST_LABEL / layout.side));
/** @type {(size: number) => number} */
const fontSize = (size) => Math.min(12, Math.max(10, size));

/** @type {(layout: Layout, frame: Frame, pointed: number | null, textWidth: TextWidth) => Label[]} */
function rowLabels(layout, frame, pointed, textWidth) {
  const { left, top, side, rows, narrow } = layout;
  const every = everyNumber(layout);
  /** @type {(span: Span) => boolean} */
  const isPointed = (span) => pointed !== null && rows.servers.slice(span.start, span.stop).includes(pointed);
  /** A label stays in sight as long as its group does. @type {(span: Span, y: number) => number} */
  const middle = (span, y) => Math.max(y + Math.min(span.length, 26) / 2, Math.min(top + 9, y + span.length - 9));
  const numbers = rows.servers.flatMap((server, place) => {
    const y = top + rows.at[place] - frame.y + side / 2;
    const on = server === pointed;
    if (y < top - side || y > frame.height + side || (place % every && !on)) return [];
    const font = fontOf(on ? BOLD : PLAIN, fontSize(side));
    return [labelOf(numberText(server), left - 5, y, { font, faint: !on, align: "right" })];
  });
  const subbands = rows.subbands.filter((span) => span.length >= LOWEST_LABEL).map((span) => {
    const on = isPointed(span);
    const font = fontOf(on ? BOLD : PLAIN);
    const text = cut(span.label, layout.subWidth - 4, font, textWidth);
    return labelOf(text, layout.bandWidth, middle(span, top + span.at - frame.y), { font, faint: !on });
  });
  const bands = rows.bands.filter((span) => narrow || span.length >= LOWEST_LABEL).map((span) => {
    const y = top + span.at - frame.y;
    const font = fontOf(isPointed(span) ? BOLD : STRONG);
    const text = cut(span.label, narrow ? span.length : layout.bandWidth - 8, font, textWidth);
    return narrow ? labelOf(text, 8, y + span.length / 2, { font, align: "center", turned: true })
      : labelOf(text, 2, middle(span, y), { font });
  });
  return [...numbers, ...subbands, ...bands];
}

/** @type {(layout: Layout, frame: Frame, pointed: number | null, textWidth: TextWidth) => Label[]} */
function columnLabels(layout, frame, pointed, textWidth) {
  const { left, top, side, columns } = layout;
  const every = everyNumber(layout);
  const across = layout.numberHeight <= 17;
  const numbers = side < SMALLEST_MARKED ? [] : columns.servers.flatMap((server, place) => {
    const x = left + columns.at[place] - frame.x + side / 2;
    const on = server === pointed;
    if (x < left - side || x > frame.width + side || (place % every && !on)) return [];
    const font = fontOf(on ? BOLD : PLAIN, fontSize(side));
    return [labelOf(numberText(server), x, top - (across ? 8 : 5),
      { font, faint: !on, align: across ? "center" : "left", turned: !across })];
  });
  const subbands = !layout.subHeight ? [] : columns.subbands.filter((span) => span.length >= 10).map((span) => {
    const on = pointed !== null && columns.servers.slice(span.start, span.stop).includes(pointed);
    const font = fontOf(on ? BOLD : PLAIN, fontSize(span.length));
    const text = cut(span.label, layout.subHeight - 4, font, textWidth);
    const x = left + span.at - frame.x + span.length / 2;
    return labelOf(text, x, top - layout.numberHeight - 3, { font, faint: !on, turned: true });
  });
  const bands = columns.bands.flatMap((span, number) => {
    const x = left + span.at - frame.x;
    const font = fontOf(STRONG);
    if (!layout.turned) {
      const start = Math.max(x, Math.min(left, x + span.length - 60));
      return layout.bandLines[number].map((text, line) => labelOf(text, start, 9 + line * LINE_HEIGHT, { font }));
    }
    if (span.length < LOWEST_LABEL) return [];
    const text = cut(span.label, layout.bandHeight - 6, font, textWidth);
    return [labelOf(text, x + Math.min(span.length / 2, 20), layout.bandHeight - 4, { font, turned: true })];
  });
  return [...numbers, ...subbands, ...bands];
}

/** @type {(layout: Layout) => Label[]} */
function directionLabels({ left, top }) {
  const look = { font: fontOf(PLAIN), faint: true, align: /** @type {const} */ ("right") };
  return [labelOf(DIRECTIONS.columns, left - 5, top - 24, look), labelOf(DIRECTIONS.rows, left - 5, top - 8, look)];
}

/** @type {(text: string, x: number, y: number, look: Pick<Label, "font"> & Partial<Label>) => Label} */
function labelOf(text, x, y, { font, faint = false, align = "left", turned = false }) {
  return { text, x, y, font, faint, align, turned };
}
