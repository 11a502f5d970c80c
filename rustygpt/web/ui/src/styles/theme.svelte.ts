// Light, dark, or as the system says. `public/theme.js` applies the stored choice before the first paint.

export type Theme = "system" | "light" | "dark";

const KEY = "rustygpt.theme";

function stored(): Theme {
  try {
    const value = localStorage.getItem(KEY);
    return value === "light" || value === "dark" ? value : "system";
  } catch {
    return "system";
  }
}

export class ThemeStore {
  choice: Theme = $state(stored());

  choose(theme: Theme): void {
    this.choice = theme;
    if (theme === "system") delete document.documentElement.dataset["theme"];
    else document.documentElement.dataset["theme"] = theme;
    try {
      if (theme === "system") localStorage.removeItem(KEY);
      else localStorage.setItem(KEY, theme);
    } catch {
      // Storage is blocked: the choice lasts as long as the page.
    }
  }
}
