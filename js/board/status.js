/** The one line on top of a board: what must be done, or why nothing runs. */

/**
 * Gives {kind, text, more, does: {name, value} or null}; `kind` is its colour, `does` what its button does.
 * @param {{state, known, candidates, missing, holding, problem, note, step, said}} board
 */
export function statusOf(board, text) {
  const { state, candidates, missing, holding, problem, note, step, said } = board
  if (step) return { kind: "busy", text: step, does: { name: "stop" } }
  if (note) return { kind: note.kind, text: note.text, does: note.does ?? null }
  if (problem) return { kind: "warn", text: text(problem), does: { name: "anew" } }
  if (missing.length) {
    const [{ frame }] = missing
    return { kind: "warn", text: text("lost", frame), more: said, does: { name: "unpick", value: frame } }
  }
  const frames = Object.keys(state.picks)
    .map(Number)
    .sort((a, b) => a - b)
  if (holding) return { kind: "hold", text: text("holding"), more: said, does: { name: "release" } }
  if (!candidates.length) return { kind: "none", text: text("noTries"), more: said, does: null }
  if (!frames.length) return { kind: "ask", text: text("pickOne"), more: said, does: null }
  return { kind: "ok", text: text("goesOn", frames.join(", ")), more: said, does: null }
}

/** A step of a run in words. */
export function stepText(text, { kind, name, part }) {
  if (kind === "queued" || !name) return text("queued")
  return part === null || part === undefined ? text("running", name) : text("runningPart", name, Math.round(part * 100))
}
