/** What a pointer does on the stage: each tool begins a gesture {move, end, cancel} at a place in 0..1 of the frame. */

import * as state from "./state.js"

/**
 * @param {Editor} editor
 * @param {{x: number, y: number}} at the place in 0..1 of the frame
 * @param {{other: boolean, reach: {x: number, y: number}, pixel: number}} how `other`: the other button or a modifier;
 *   `reach`: how near counts as on it; `pixel`: a step on the screen that is too small to keep, as a part of the width
 */
export function begin(editor, at, how) {
  if (editor.tool === "box") return box(editor, at, how)
  if (editor.tool === "point") return point(editor, at, how)
  return brush(editor, at, how)
}

/** What lies under a place: a point of any object, the current one first. */
export function pointAt(editor, at, reach) {
  const marks = state.marksOn(editor.doc, editor.frame).filter(mark => !editor.hidden.has(mark.object))
  marks.sort((a, b) => Number(b.object === editor.object) - Number(a.object === editor.object))
  for (const mark of marks)
    for (let index = mark.points.length - 1; index >= 0; index--)
      if (near(mark.points[index], at, reach)) return { object: mark.object, index }
  return null
}

/** Which sides of the current object's box lie under a place, as {left, top, right, bottom}; null when none does. */
export function sidesAt(editor, at, reach) {
  const box = editor.mark.box
  if (!box) return null
  const [left, top, right, bottom] = [0, 1, 2, 3].map(side => {
    const axis = side % 2
    const [along, low, high] = axis ? [at.x, box[0], box[2]] : [at.y, box[1], box[3]]
    const slack = axis ? reach.x : reach.y
    const close = Math.abs((axis ? at.y : at.x) - box[side]) <= (axis ? reach.y : reach.x)
    return close && along >= low - slack && along <= high + slack
  })
  return left || top || right || bottom ? { left, top, right, bottom } : null
}

function point(editor, at, { other, reach }) {
  const hit = pointAt(editor, at, reach)
  if (hit && hit.object !== editor.object) editor.setObject(hit.object)
  const before = editor.mark
  const label = other ? 1 - editor.label : editor.label
  if (!hit && !inside(at)) return null
  const index = hit ? hit.index : before.points.length
  const started = hit ? before : state.addPoint(before, at.x, at.y, label)
  const show = mark => editor.sketch(state.withMark(editor.doc, mark))
  const selection = { kind: "point", index }
  let mark = started
  editor.selection = selection
  show(mark)
  return {
    move(to) {
      mark = state.movePoint(started, index, to.x, to.y)
      show(mark)
    },
    end: () => editor.commit(mark === before ? editor.doc : state.withMark(editor.doc, mark), selection),
    cancel: () => editor.set({ draft: null, selection: hit ? selection : null }),
  }
}

function box(editor, at, { reach }) {
  const before = editor.mark
  const sides = sidesAt(editor, at, reach)
  let corners = sides ? before.box : null
  return {
    move(to) {
      corners = sides ? pulled(before.box, sides, to) : [at.x, at.y, to.x, to.y]
      editor.sketch(state.withMark(editor.doc, state.setBox(before, corners)))
    },
    end() {
      const large =
        corners && (Math.abs(corners[2] - corners[0]) > reach.x / 2 || Math.abs(corners[3] - corners[1]) > reach.y / 2)
      if (!large) return editor.sketch(null) // a click without a drag
      const doc = state.withMark(editor.doc, state.setBox(before, corners))
      editor.commit(doc, { kind: "box" })
    },
    cancel: () => editor.sketch(null),
  }
}

const pulled = (box, sides, to) => [
  sides.left ? to.x : box[0],
  sides.top ? to.y : box[1],
  sides.right ? to.x : box[2],
  sides.bottom ? to.y : box[3],
]

function brush(editor, at, { other, pixel }) {
  const before = editor.mark
  const erase = (editor.tool === "erase") !== other
  const base = editor.base(editor.frame, editor.object)
  if (erase && editor.finished && !base && !before.painted && !before.strokes.length) return null // nothing to erase
  const stroke = { path: [spot(at)], radius: Math.round(editor.radius * 1e5) / 1e5, erase }
  const mark = () => state.addStroke(before, stroke, editor.finished, base)
  const show = () => editor.sketch(state.withMark(editor.doc, mark()), { before, stroke, base })
  show()
  return {
    move(to) {
      const [x, y] = stroke.path[stroke.path.length - 1]
      if (Math.hypot(to.x - x, to.y - y) < pixel) return
      stroke.path.push(spot(to))
      show()
    },
    end: () => editor.commit(state.withMark(editor.doc, mark()), null),
    cancel: () => editor.sketch(null),
  }
}

// A brush may go beyond the frame's edge, to paint up to it.
const spot = at => [at.x, at.y].map(value => Math.round(Math.min(2, Math.max(-1, value)) * 1e5) / 1e5)

const inside = at => at.x >= 0 && at.x <= 1 && at.y >= 0 && at.y <= 1

const near = ([x, y], at, reach) => ((x - at.x) / reach.x) ** 2 + ((y - at.y) / reach.y) ** 2 <= 1
