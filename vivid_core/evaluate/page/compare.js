const groups = []
for (const article of document.querySelectorAll("article")) {
  const videos = [...article.querySelectorAll("video")]
  const slider = article.querySelector("input"), number = article.querySelector("output")
  const button = article.querySelector("button")
  if (!videos.length) continue
  const group = new Together(videos, Number(article.dataset.frames), frame => {
    slider.value = frame
    number.textContent = `${frame} / ${group.frames - 1}`
  })
  group.button = button
  groups.push(group)
  slider.addEventListener("input", () => {
    const frame = Number(slider.value) // stopping sets the slider to where the videos are
    stop(group)
    group.load()
    group.show(frame)
  })
  button.addEventListener("click", () => (group.playing ? stop(group) : start(group)))
  new IntersectionObserver(seen => {
    group.inView = seen.at(-1).isIntersecting
    if (group.inView) group.load()
    if (all && group.inView && !group.playing) start(group)
    if (!group.inView && group.playing) stop(group)
  }, { rootMargin: "200px" }).observe(article)
}
let all = false
const speed = document.querySelector("#speed"), everything = document.querySelector("#all")
function start(group) {
  group.setRate(speed.value === "auto" ? usualRate(group.length) : Number(speed.value))
  group.play()
  group.button.textContent = "Pause"
}
function stop(group) {
  group.pause()
  group.button.textContent = "Play"
}
everything.addEventListener("click", () => {
  all = !all
  everything.textContent = all ? "Pause all" : "Play all"
  for (const group of groups) if (all && group.inView) start(group); else stop(group)
})
speed.addEventListener("change", () => { for (const group of groups) if (group.playing) start(group) })
document.querySelector("#cell").addEventListener("input", event => {
  document.body.style.setProperty("--cell", `${event.target.value}px`)
})
for (const choice of document.querySelectorAll("[data-choose]")) {
  choice.addEventListener("click", () => {
    const how = choice.dataset.choose
    document.body.dataset.composite = how
    for (const one of document.querySelectorAll("[data-choose]")) one.setAttribute("aria-pressed", String(one === choice))
    for (const video of document.querySelectorAll(`video[data-${how}]`)) video.src = video.dataset[how]
    for (const group of groups) {
      for (const video of group.videos) video.preload = "none"
      if (group.inView) { group.load(); group.playing ? group.play() : group.show(group.at) }
    }
  })
}
