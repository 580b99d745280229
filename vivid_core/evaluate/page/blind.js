const study = JSON.parse(document.querySelector("#study").textContent)
const find = id => document.querySelector(`#${id}`)
const SIDES = [["left", "A"], ["same", "no difference"], ["right", "B"]]
const kept = read()
let place = 0, group = null

// A page from the disk may not be allowed to keep anything; then the votes live as long as the page.
function read() {
  let told = null
  try { told = JSON.parse(localStorage.getItem(`vivid-votes-${study.study}`)) } catch { /* nothing is kept */ }
  if (told && typeof told === "object" && told.answers && typeof told.session === "string") return told
  return { session: [...crypto.getRandomValues(new Uint8Array(8))].map(one => one.toString(16).padStart(2, "0")).join(""), rater: "", answers: {} }
}
function keep() {
  try { localStorage.setItem(`vivid-votes-${study.study}`, JSON.stringify(kept)) } catch { /* as above */ }
}
const answersOf = pair => (kept.answers[pair.id] ??= {})
const isDone = pair => pair.questions.every(key => answersOf(pair)[key])
const doneCount = () => study.pairs.filter(isDone).length

function show(what) {
  for (const id of ["begin", "pair", "end"]) find(id).hidden = id !== what
  if (what !== "pair") group?.pause()
}
function open(at) {
  place = at
  if (place >= study.pairs.length) return finish()
  const pair = study.pairs[place]
  find("ask").textContent = pair.removes ? "Something was to be removed here." : `Asked for: “${pair.caption}”`
  group?.pause()
  const videos = ["original", "left", "right"].map(side => {
    const video = find(`video-${side}`)
    video.src = pair[side]
    video.preload = "none"
    return video
  })
  document.querySelector(".three").classList.toggle("small", pair.width < 200)
  group = new Together(videos.map(fresh), pair.frames)
  group.load()
  group.leaderReady = () => { group.setRate(usualRate(group.length)); group.play() }
  group.videos[0].addEventListener("loadedmetadata", group.leaderReady, { once: true })
  find("questions").replaceChildren(...pair.questions.map(key => question(pair, key)))
  progress()
  show("pair")
}
// A new element without the listeners of the pair before.
function fresh(video) {
  const copy = video.cloneNode()
  video.replaceWith(copy)
  return copy
}
function question(pair, key) {
  const row = document.createElement("div"), text = document.createElement("p"), buttons = document.createElement("div")
  row.className = "question"
  text.textContent = study.questions[key]
  buttons.className = "segments"
  for (const [side, label] of SIDES) {
    const button = document.createElement("button")
    button.textContent = label
    button.dataset.vote = `${key} ${side}`
    button.setAttribute("aria-pressed", String(answersOf(pair)[key] === side))
    button.addEventListener("click", () => {
      answersOf(pair)[key] = side
      for (const one of buttons.children) one.setAttribute("aria-pressed", String(one === button))
      keep()
      progress()
    })
    buttons.append(button)
  }
  row.append(text, buttons)
  return row
}
function progress() {
  find("done").max = study.pairs.length
  find("done").value = doneCount()
  find("count").textContent = `${place + 1} of ${study.pairs.length}`
  find("next").disabled = !isDone(study.pairs[place])
  find("back").disabled = place === 0
}
function finish() {
  find("result").textContent = `${doneCount()} of ${study.pairs.length} comparisons are answered.`
  show("end")
}
find("start").addEventListener("click", () => {
  kept.rater = find("rater").value.trim().slice(0, 60)
  keep()
  const first = study.pairs.findIndex(pair => !isDone(pair))
  open(first < 0 ? study.pairs.length : first)
})
find("next").addEventListener("click", () => open(place + 1))
find("back").addEventListener("click", () => open(Math.max(0, place - 1)))
find("stop").addEventListener("click", finish)
find("on").addEventListener("click", () => open(Math.max(0, study.pairs.findIndex(pair => !isDone(pair)))))
find("save").addEventListener("click", () => {
  const votes = study.pairs.filter(pair => Object.keys(answersOf(pair)).length).map(pair => ({ pair: pair.id, answers: answersOf(pair) }))
  const told = { format: study.format, version: 1, study: study.study, session: kept.session, rater: kept.rater, votes }
  const link = document.createElement("a")
  link.href = URL.createObjectURL(new Blob([JSON.stringify(told, null, 1)], { type: "application/json" }))
  link.download = `votes_${kept.session}.json`
  link.click()
  setTimeout(() => URL.revokeObjectURL(link.href), 10000)
})
find("rater").value = kept.rater
show("begin")
