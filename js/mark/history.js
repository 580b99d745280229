/** Undo and redo for each frame by itself: an edit is kept as what it changed, under the frame it was made on. */

export const newHistory = () => ({ past: new Map(), future: new Map() })

/** Remember an edit; what was undone on that frame can't be redone any more. */
export function remember(history, frame, before, after) {
  const change = difference(before, after)
  if (!change.marks.length && !change.objects.length) return
  history.past.set(frame, [...(history.past.get(frame) ?? []), change])
  history.future.delete(frame)
}

export const canUndo = (history, frame) => Boolean(history.past.get(frame)?.length)

export const canRedo = (history, frame) => Boolean(history.future.get(frame)?.length)

/** The document before the last edit on this frame; the same document when there is none. */
export const undo = (history, frame, doc) => step(history.past, history.future, frame, doc, "before")

export const redo = (history, frame, doc) => step(history.future, history.past, frame, doc, "after")

function step(from, to, frame, doc, side) {
  const changes = from.get(frame) ?? []
  if (!changes.length) return doc
  const change = changes[changes.length - 1]
  from.set(frame, changes.slice(0, -1))
  to.set(frame, [...(to.get(frame) ?? []), change])
  return restore(doc, change, side)
}

/** What differs, as entries {key, before, after}. Documents share what they have in common, so identity tells. */
function difference(before, after) {
  const changed = (list, keyOf) => {
    const [was, is] = [before[list], after[list]].map(items => new Map(items.map(item => [keyOf(item), item])))
    const keys = new Set([...was.keys(), ...is.keys()])
    return [...keys]
      .filter(key => was.get(key) !== is.get(key))
      .map(key => ({ key, before: was.get(key), after: is.get(key) }))
  }
  return { marks: changed("marks", markKey), objects: changed("objects", object => object.id) }
}

function restore(doc, change, side) {
  const replaced = (items, entries, keyOf) => {
    const keys = new Set(entries.map(entry => entry.key))
    return [...items.filter(item => !keys.has(keyOf(item))), ...entries.map(entry => entry[side]).filter(Boolean)]
  }
  const marks = replaced(doc.marks, change.marks, markKey).sort((a, b) => a.frame - b.frame || a.object - b.object)
  const objects = change.objects.length ? replaced(doc.objects, change.objects, object => object.id) : doc.objects
  const known = new Set(objects.map(object => object.id))
  // A mark may come back whose object was removed on another frame since.
  const missing = [...new Set(marks.map(mark => mark.object))].filter(id => !known.has(id))
  const all = [...objects, ...missing.map(id => ({ id, name: "" }))].sort((a, b) => a.id - b.id)
  return { ...doc, marks, objects: all }
}

const markKey = mark => `${mark.frame}:${mark.object}`
