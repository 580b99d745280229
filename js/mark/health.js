/** What the last run says of its track: where a click is needed. Reads what vivid_core/metrics/health.py writes. */

/** A track's file as the editor uses it: objects by id, each a list of runs, null where the mask is empty. */
export function readTrack(content, digest) {
  const objects = new Map(content.objects.map(({ id, runs }) => [id, runs]))
  const health = new Map((content.health?.objects ?? []).map(each => [each.object_id, each]))
  return {
    digest,
    frames: content.frames,
    width: content.width,
    height: content.height,
    objects,
    health,
    cuts: content.health?.cuts ?? [],
  }
}

/** [{object, frame, text}] in the order of the frames; `text` is the report's own sentence. */
export function suggestions(track) {
  const found = []
  for (const [object, health] of track?.health ?? [])
    for (const text of health.suggestions ?? []) {
      const frame = Number(/frame (\d+)/.exec(text)?.[1] ?? NaN)
      if (frame < track.frames) found.push({ object, frame, text, kind: text.startsWith("add") ? "add" : "check" })
    }
  return found.sort((a, b) => a.frame - b.frame || a.object - b.object)
}

/** How one object does on each frame: {height 0..1, sure 0..1, lost, jump}. */
export function bars(track, object) {
  const health = track?.health.get(object)
  if (!health) return []
  const most = Math.max(...health.areas, 1e-9)
  const jumps = new Set((health.jumps ?? []).map(jump => jump.frame))
  const lost = new Set()
  for (const [first, last] of health.lost ?? []) for (let frame = first; frame <= last; frame++) lost.add(frame)
  return health.areas.map((area, frame) => ({
    height: Math.sqrt(area / most),
    sure: Math.min(Math.max(health.scores?.[frame] ?? 1, 0), 1),
    lost: lost.has(frame),
    jump: jumps.has(frame),
  }))
}
