/** The pack's texts in the page's language; they lie in locales/<language>/main.json under vivid.<room>. */

/**
 * A function from a room ("mark", "board") to its texts: those are a function from a key, and what stands for %1, %2
 * in it, to the text. English fills what a language lacks.
 */
export async function loadTexts(app, api) {
  const answer = await api.fetchApi("/i18n").catch(() => null)
  const all = answer?.ok ? await answer.json() : {}
  return room =>
    (key, ...values) => {
      const language = String(app.extensionManager?.setting?.get("Comfy.Locale") ?? "en")
      const found = [language, language.split("-")[0], "en"].map(name => all[name]?.vivid?.[room]?.[key]).find(Boolean)
      return values.reduce((text, value, index) => text.replaceAll(`%${index + 1}`, String(value)), found ?? key)
    }
}
