/** The keyboard: which key gives which command. Texts that are being typed are left alone. */

const TOOL_KEYS = { p: "point", b: "box", d: "paint", e: "erase", h: "pan" }
const ARROWS = { ArrowLeft: -1, ArrowRight: 1 }
const BRUSH_STEP = 1.25

/**
 * What a key does, as a function, or null when it is not ours.
 * @param {{editor: Editor, stage: Stage, actions: {save, close, run, play}}} on
 */
export function commandOf(event, { editor, stage, actions }) {
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key
  if (event.ctrlKey || event.metaKey) return withControl(key, event, editor, actions)
  if (event.altKey) return null
  if (key in ARROWS) return () => editor.step(ARROWS[key] * (event.shiftKey ? 10 : 1))
  if (key in TOOL_KEYS) return () => editor.setTool(TOOL_KEYS[key])
  const commands = {
    Home: () => editor.goTo(0),
    End: () => editor.goTo(editor.last),
    PageUp: () => editor.step(-10),
    PageDown: () => editor.step(10),
    x: () => editor.flip(),
    n: () => editor.toggleNotHere(),
    m: () => editor.set({ masksShown: !editor.masksShown }),
    k: () => actions.play(),
    Delete: () => editor.remove(),
    Backspace: () => editor.remove(),
    Enter: () => actions.save(),
    Escape: () => stage.drop() || actions.close(),
    "[": () => editor.setRadius(editor.radius / BRUSH_STEP),
    "]": () => editor.setRadius(editor.radius * BRUSH_STEP),
    "+": () => stage.zoom(1.3),
    "=": () => stage.zoom(1.3),
    "-": () => stage.zoom(1 / 1.3),
    0: () => stage.fit(),
    " ": () => stage.holdSpace(true),
  }
  if (/^[1-9]$/.test(key)) return () => editor.doc.objects[key - 1] && editor.setObject(editor.doc.objects[key - 1].id)
  return commands[key] ?? null
}

function withControl(key, event, editor, actions) {
  if (key === "z") return () => (event.shiftKey ? editor.redo() : editor.undo())
  if (key === "y") return () => editor.redo()
  if (key === "s") return () => actions.keep()
  if (key === "Enter") return () => actions.run()
  return null
}

/** Whether the element that has the focus needs this key itself. */
export function takesKey(target, key) {
  if (key === "Escape") return false
  if (target instanceof HTMLTextAreaElement) return true
  if (target instanceof HTMLInputElement) {
    if (target.type === "range") return /^(Arrow|Home|End|Page)/.test(key)
    return !["checkbox", "radio", "button"].includes(target.type) || key === " "
  }
  return target instanceof HTMLButtonElement && [" ", "Enter"].includes(key)
}
