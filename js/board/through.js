/** What a pointer does over the gallery that is meant for the graph under it: zoom with the wheel, move with its button. */

const MIDDLE = 1

export function passToGraph(app, { element, viewer, tries }, signal) {
  const on = (name, handler, options) => element.addEventListener(name, handler, { signal, ...options })
  on("wheel", event => turned(app, event, viewer, tries.element), { passive: false })
  for (const name of ["pointerdown", "pointermove", "pointerup"])
    on(name, event => {
      const middle = name === "pointermove" ? event.buttons & 4 : event.button === MIDDLE
      if (!middle) return event.stopPropagation() // a drag in the gallery does not drag the node
      if (name === "pointerdown") event.preventDefault()
      if (!window.LiteGraph?.vueNodesMode) again(app, event) // the new rendering does that itself
    })
  on("dblclick", event => event.stopPropagation())
  // ComfyUI's touch support takes two fingers anywhere on the page for a zoom of the graph, before they arrive here.
  const pinch = event => viewer.element.contains(event.target) && event.stopPropagation()
  window.addEventListener("touchmove", pinch, { signal, capture: true, passive: true })
}

function turned(app, event, viewer, list) {
  if (viewer.element.contains(event.target) && viewer.takesWheel(event)) {
    event.preventDefault()
    event.stopPropagation()
    return viewer.wheel(event)
  }
  const scrolls = list.contains(event.target) && (list.scrollHeight > list.clientHeight + 1 || list.scrollWidth > list.clientWidth + 1)
  if (scrolls && !event.ctrlKey) return event.stopPropagation()
  event.preventDefault()
  event.stopPropagation()
  again(app, event)
}

/** The same event once more, on the graph's canvas. */
function again(app, event) {
  app.canvas.canvas.dispatchEvent(new event.constructor(event.type, event))
}
