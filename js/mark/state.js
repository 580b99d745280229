/**
 * The marks as one plain document that is never changed in place: every edit gives a new one.
 *
 * Places are [x, y] in 0..1 of the frame, a brush's radius is a part of the frame's width. Keys that this version does
 * not know are kept. nodes/marking.py reads the same text.
 */

const VERSION = 1
const COLOURS = ["#ff5a5f", "#2bb3ff", "#ffc233", "#34d399", "#b07cff", "#ff8a3d", "#f472b6", "#a3e635"]

export const colourOf = id => COLOURS[(id - 1) % COLOURS.length]

export const emptyDocument = () => ({ version: VERSION, clip: null, objects: [{ id: 1, name: "" }], marks: [] })

/** The document in a text; an empty text is an empty document. Throws an Error whose `reason` is a key of the texts. */
export function parse(text) {
  if (!text?.trim()) return emptyDocument()
  let content
  try {
    content = JSON.parse(text)
  } catch {
    throw unreadable("unreadable")
  }
  if (content?.version !== VERSION) throw unreadable(content?.version ? "otherVersion" : "unreadable")
  if (![content.objects ?? [], content.marks ?? []].every(Array.isArray)) throw unreadable("unreadable")
  const marks = (content.marks ?? []).map(mark => ({ ...blankMark(mark?.frame, mark?.object), ...mark }))
  if (!marks.every(isMark)) throw unreadable("unreadable")
  const objects = content.objects ?? []
  const missing = [...new Set(marks.map(mark => mark.object))].filter(id => !objects.some(known => known.id === id))
  const all = [...objects, ...missing.map(id => ({ id, name: "" }))]
  return {
    ...content,
    clip: content.clip ?? null,
    objects: all.length ? all : emptyDocument().objects,
    marks: sorted(marks),
  }
}

/** The text of a document: empty when there is nothing to keep. */
export function serialise(doc) {
  const plain = doc.objects.length === 1 && doc.objects[0].id === 1 && !doc.objects[0].name
  return !doc.marks.length && plain ? "" : JSON.stringify(doc)
}

export const blankMark = (frame, object) => ({
  frame,
  object,
  points: [],
  box: null,
  strokes: [],
  painted: false,
  base: null,
})

export const markAt = (doc, frame, object) =>
  doc.marks.find(mark => mark.frame === frame && mark.object === object) ?? blankMark(frame, object)

export const marksOn = (doc, frame) => doc.marks.filter(mark => mark.frame === frame)

export const isBlank = mark => !mark.points.length && !mark.box && !mark.strokes.length && !mark.painted

/** A finished mask without anything in it: the object isn't on this frame. */
export const saysNotHere = mark => mark.painted && !mark.strokes.length && !mark.base

/** The document with this mark in the place of the one of the same frame and object; a blank mark is taken out. */
export function withMark(doc, mark) {
  const others = doc.marks.filter(other => other.frame !== mark.frame || other.object !== mark.object)
  return { ...doc, marks: isBlank(mark) ? others : sorted([...others, mark]) }
}

export function addPoint(mark, x, y, label) {
  return { ...present(mark), points: [...mark.points, [place(x), place(y), label]] }
}

export function movePoint(mark, index, x, y) {
  return { ...mark, points: mark.points.map((point, at) => (at === index ? [place(x), place(y), point[2]] : point)) }
}

export function flipPoint(mark, index) {
  return { ...mark, points: mark.points.map(([x, y, label], at) => [x, y, at === index ? 1 - label : label]) }
}

export const removePoint = (mark, index) => ({ ...mark, points: mark.points.filter((_, at) => at !== index) })

/** Two opposite corners become the box; null takes it away, and so does a box without an area. */
export function setBox(mark, corners) {
  if (!corners) return { ...mark, box: null }
  const [xs, ys] = [0, 1].map(axis => [place(corners[axis]), place(corners[axis + 2])].sort((a, b) => a - b))
  const hasArea = xs[1] > xs[0] && ys[1] > ys[0]
  return hasArea ? { ...present(mark), box: [xs[0], ys[0], xs[1], ys[1]] } : { ...mark, box: null }
}

/**
 * The mark with one more stroke. With `finished` the strokes over `base` (the mask that was there, or null) become the
 * mask of the frame; otherwise they are a hint. A mask that has been begun stays one, over the base it began with.
 */
export function addStroke(mark, stroke, finished, base) {
  const strokes = [...mark.strokes, stroke]
  if (mark.painted) return { ...mark, strokes }
  return { ...mark, strokes, painted: finished, base: finished ? base : null }
}

/** Without its last stroke; what was painted is no mask any more when none is left. */
export function removeStroke(mark) {
  const strokes = mark.strokes.slice(0, -1)
  return strokes.length ? { ...mark, strokes } : { ...mark, strokes, painted: false, base: null }
}

export const notHere = mark => ({ ...mark, points: [], box: null, strokes: [], painted: true, base: null })

export const here = mark => ({ ...mark, strokes: [], painted: false, base: null })

export const addObject = (doc, id, name = "") => ({ ...doc, objects: [...doc.objects, { id, name }] })

/** Without an object and all its marks; the last object is replaced by an unnamed one. */
export function removeObject(doc, id) {
  const objects = doc.objects.filter(object => object.id !== id)
  const marks = doc.marks.filter(mark => mark.object !== id)
  return { ...doc, objects: objects.length ? objects : emptyDocument().objects, marks }
}

export const renameObject = (doc, id, name) => ({
  ...doc,
  objects: doc.objects.map(object => (object.id === id ? { ...object, name } : object)),
})

/** Without the marks on frames that a clip of `count` frames doesn't have. */
export const withinClip = (doc, count) => ({ ...doc, marks: doc.marks.filter(mark => mark.frame < count) })

/** What is to be remembered of the clip that marks were made on. */
export const clipOf = ({ frames, width, height, digest }) => ({ frames, width, height, digest })

/** Whether the marks were made on another clip than `clip`. */
export function isOtherClip(doc, clip) {
  if (!doc.marks.length || !doc.clip) return false
  const same = ["frames", "width", "height"].every(name => doc.clip[name] === clip[name])
  return !same || Boolean(doc.clip.digest && doc.clip.digest !== clip.digest)
}

/** A coordinate within the frame, short enough for a saved workflow and finer than a pixel of 8K. */
export const place = value => Math.round(Math.min(1, Math.max(0, value)) * 1e5) / 1e5

const present = mark => (saysNotHere(mark) ? here(mark) : mark)

const sorted = marks => [...marks].sort((a, b) => a.frame - b.frame || a.object - b.object)

const areNumbers = (list, count) => Array.isArray(list) && list.length === count && list.every(Number.isFinite)

const isStroke = stroke =>
  Array.isArray(stroke?.path) && stroke.path.every(at => areNumbers(at, 2)) && stroke.radius > 0

const isMark = mark =>
  Number.isInteger(mark.frame) &&
  mark.frame >= 0 &&
  Number.isInteger(mark.object) &&
  mark.object > 0 &&
  Array.isArray(mark.points) &&
  mark.points.every(point => areNumbers(point, 3)) &&
  (mark.box === null || areNumbers(mark.box, 4)) &&
  Array.isArray(mark.strokes) &&
  mark.strokes.every(isStroke) &&
  (mark.base === null || Array.isArray(mark.base?.runs))

const unreadable = reason => Object.assign(new Error(reason), { reason })
