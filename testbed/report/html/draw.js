// Rule: a canvas is drawn on, and nothing else: what is drawn, where, and in which colours is in the arguments.
// @ts-check

/** @typedef {CanvasRenderingContext2D} Canvas */

const DIMMED = 0.13;

/** A triangle around a middle: upwards (1) or downwards (-1).
 * @type {(c: Canvas, x: number, y: number, half: number, up: 1 | -1) => void} */
function triangle(c, x, y, half, up) {
  c.moveTo(x, y - up * half);
  c.lineTo(x + half, y + up * half * 0.8);
  c.lineTo(x - half, y + up * half * 0.8);
  c.closePath();
}
/** @type {(c: Canvas, x: number, y: number, dx: number, dy: number) => void} */
function stroke(c, x, y, dx, dy) {
  c.moveTo(x - dx, y - dy);
  c.lineTo(x + dx, y + dy);
}

/** How a mark is drawn around a middle; `half` is half its size, `side` its square's.
 * @type {Record<string, (c: Canvas, x: number, y: number, half: number, side: number) => void>} */
const MARKS = {
  disc: (c, x, y, half) => { c.arc(x, y, half, 0, 7); c.fill(); },
  ring: (c, x, y, half) => { c.arc(x, y, half, 0, 7); c.stroke(); },
  triangle: (c, x, y, half) => { triangle(c, x, y, half, 1); c.stroke(); },
  up: (c, x, y, half) => { triangle(c, x, y, half, 1); c.fill(); },
  down: (c, x, y, half) => { triangle(c, x, y, half, -1); c.fill(); },
  square: (c, x, y, half) => c.strokeRect(x - half, y - half, 2 * half, 2 * half),
  cross: (c, x, y, half) => { stroke(c, x, y, half, half); stroke(c, x, y, -half, half); c.stroke(); },
  plus: (c, x, y, half) => { stroke(c, x, y, half, 0); stroke(c, x, y, 0, half); c.stroke(); },
  bar: (c, x, y, half, side) => { c.lineWidth = Math.max(1.5, side * 0.14); stroke(c, x, y, half, 0); c.stroke(); },
  slash: (c, x, y, half) => { stroke(c, x, y, half, -half); c.stroke(); },
};
const LETTER = "text:"; // a mark that is a letter

/** A tone's mark, into a square of `side` at x, y.
 * @type {(c: Canvas, paint: Paint, x: number, y: number, side: number) => void} */
function drawMark(c, paint, x, y, side) {
  const [middleX, middleY] = [x + side / 2, y + side / 2];
  c.strokeStyle = c.fillStyle = paint.ink;
  if (!MARKS[paint.mark]) {
    c.font = `700 ${Math.round(side * 0.62)}px system-ui, sans-serif`;
    c.textAlign = "center";
    c.textBaseline = "middle";
    c.fillText(paint.mark.startsWith(LETTER) ? paint.mark.slice(LETTER.length) : "?", middleX, middleY + side * 0.04);
    return;
  }
  c.lineWidth = Math.max(1, side * 0.09);
  c.beginPath();
  MARKS[paint.mark](c, middleX, middleY, (side * paint.size) / 2, side);
}

/** The corner of a surprise. @type {(c: Canvas, x: number, y: number, side: number, colours: [string, string]) => void} */
function drawCorner(c, x, y, side, [fill, edge]) {
  const size = Math.max(3, side * 0.34);
  c.fillStyle = fill;
  c.strokeStyle = edge;
  c.lineWidth = 1;
  c.beginPath();
  c.moveTo(x + side - size, y);
  c.lineTo(x + side, y);
  c.lineTo(x + side, y + size);
  c.closePath();
  if (side >= 10) c.stroke();
  c.fill();
}

/** A line around the inside of a square. @type {(c: Canvas, x: number, y: number, side: number, colour: string) => void} */
function drawEdge(c, x, y, side, colour) {
  c.strokeStyle = colour;
  c.lineWidth = 1;
  c.strokeRect(x + 0.5, y + 0.5, side - 1, side - 1);
}

/** A small picture of a tone.
 * @type {(c: Canvas, paint: Paint, side: number, edge: string, corner: [string, string] | null) => void} */
function drawSwatch(c, paint, side, edge, corner) {
  c.clearRect(0, 0, side, side);
  c.fillStyle = paint.fill;
  c.fillRect(0, 0, side, side);
  drawEdge(c, 0, 0, side, edge);
  drawMark(c, paint, 0, 0, side);
  if (corner) drawCorner(c, 0, 0, side, corner);
}

/** @type {(c: Canvas, box: Box, work: () => void) => void} */
function clipped(c, box, work) {
  c.save();
  c.beginPath();
  c.rect(box.x, box.y, box.width, box.height);
  c.clip();
  work();
  c.restore();
}

/** The matrix. @type {(c: Canvas, scene: Scene, paints: Paint[], colours: Colours) => void} */
function drawMatrix(c, scene, paints, colours) {
  c.fillStyle = colours.paper;
  c.fillRect(0, 0, scene.frame.width, scene.frame.height);
  clipped(c, scene.field, () => {
    drawSquares(c, scene, paints, colours);
    for (const ring of scene.rings) drawRing(c, ring, scene.square, colours);
  });
  c.textBaseline = "middle";
  for (const { box, labels } of scene.headings) {
    clipped(c, box, () => {
      for (const label of labels) drawLabel(c, label, label.faint ? colours.faint : colours.ink);
    });
  }
}

/** @type {(c: Canvas, scene: Scene, paints: Paint[], colours: Colours) => void} */
function drawSquares(c, { rows, columns, side, square, tones, surprises, passing, marks, corners }, paints, colours) {
  for (const row of rows) {
    for (const column of columns) {
      if (row.server === column.server) {
        if (corners) drawItself(c, column.at, row.at, side, colours.rule);
        continue;
      }
      const place = row.server * SERVERS + column.server;
      if (tones[place] === NO_TONE) continue;
      const paint = paints[tones[place]];
      c.globalAlpha = passing && !passing[place] ? DIMMED : 1;
      c.fillStyle = paint.fill;
      c.fillRect(column.at, row.at, square, square);
      if (marks) drawMark(c, paint, column.at, row.at, square);
      if (corners && surprises[place]) drawCorner(c, column.at, row.at, square, colours.corner);
      if (marks && paint.edged) drawEdge(c, column.at, row.at, square, colours.edge);
    }
  }
  c.globalAlpha = 1;
}

/** A server and itself. @type {(c: Canvas, x: number, y: number, side: number, colour: string) => void} */
function drawItself(c, x, y, side, colour) {
  c.globalAlpha = 1;
  c.strokeStyle = colour;
  c.lineWidth = 1;
  c.beginPath();
  c.moveTo(x + side * 0.25, y + side * 0.25);
  c.lineTo(x + side * 0.75, y + side * 0.75);
  c.stroke();
}

/** @type {(c: Canvas, ring: Ring, side: number, colours: Colours) => void} */
function drawRing(c, { x, y, thick }, side, colours) {
  for (const [width, colour] of /** @type {[number, string][]} */ ([[thick + 2, colours.paper], [thick, colours.focus]])) {
    c.lineWidth = width;
    c.strokeStyle = colour;
    c.strokeRect(x - 1, y - 1, side + 2, side + 2);
  }
}

/** @type {(c: Canvas, label: Label, colour: string) => void} */
function drawLabel(c, label, colour) {
  c.font = label.font;
  c.fillStyle = colour;
  c.textAlign = label.align;
  c.save();
  c.translate(label.x, label.y);
  if (label.turned) c.rotate(-Math.PI / 2);
  c.fillText(label.text, 0, 0);
  c.restore();
}
