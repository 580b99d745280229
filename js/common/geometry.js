/**
 * Where the frame lies on the stage. A view {scale, x, y} puts the frame's pixel (u, v) to
 * (u * scale + x, v * scale + y), in CSS pixels of the stage.
 */

const MOST_ZOOM = 40
const KEPT_VISIBLE = 48 // pixels of the frame that stay on the stage, however far it is moved

/** The whole frame in the middle of the stage. */
export function fitted(frame, stage, margin = 16) {
  const room = [stage.width - 2 * margin, stage.height - 2 * margin]
  const scale = Math.max(Math.min(room[0] / frame.width, room[1] / frame.height), 0.01)
  return { scale, x: (stage.width - frame.width * scale) / 2, y: (stage.height - frame.height * scale) / 2 }
}

/** Zoomed by `factor` around a place of the stage, which stays where it is. */
export function zoomed(view, factor, at, frame, stage) {
  const whole = fitted(frame, stage).scale
  const scale = Math.min(Math.max(view.scale * factor, whole / 4), Math.max(MOST_ZOOM, whole))
  const by = scale / view.scale
  return kept({ scale, x: at.x - (at.x - view.x) * by, y: at.y - (at.y - view.y) * by }, frame, stage)
}

export const moved = (view, dx, dy, frame, stage) => kept({ ...view, x: view.x + dx, y: view.y + dy }, frame, stage)

/** Two fingers went from the places `before` to `after`: the frame goes with them. */
export function pinched(view, before, after, frame, stage) {
  const middle = ([a, b]) => ({ x: (a.x + b.x) / 2, y: (a.y + b.y) / 2 })
  const spread = ([a, b]) => Math.max(Math.hypot(a.x - b.x, a.y - b.y), 1)
  const [from, to] = [middle(before), middle(after)]
  const along = moved(view, to.x - from.x, to.y - from.y, frame, stage)
  return zoomed(along, spread(after) / spread(before), to, frame, stage)
}

/** A place of the stage in 0..1 of the frame; outside the frame it is outside 0..1. */
export const toFrame = (view, at, frame) => ({
  x: (at.x - view.x) / view.scale / frame.width,
  y: (at.y - view.y) / view.scale / frame.height,
})

/** A place in 0..1 of the frame on the stage. */
export const toStage = (view, x, y, frame) => ({
  x: x * frame.width * view.scale + view.x,
  y: y * frame.height * view.scale + view.y,
})

function kept(view, frame, stage) {
  const within = (value, size, room) =>
    Math.min(Math.max(value, Math.min(KEPT_VISIBLE, size) - size), room - Math.min(KEPT_VISIBLE, size))
  return {
    ...view,
    x: within(view.x, frame.width * view.scale, stage.width),
    y: within(view.y, frame.height * view.scale, stage.height),
  }
}
