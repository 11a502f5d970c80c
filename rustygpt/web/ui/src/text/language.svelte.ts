// The language the page speaks. Components read `language.text`, so changing `code` changes them all.

import { en, type Text } from "./en";

const TEXTS: Readonly<Record<string, Text>> = { en };

class Language {
  code = $state("en");
  text: Text = $derived(TEXTS[this.code] ?? en);

  choose(code: string): void {
    this.code = code;
    document.documentElement.lang = this.text.code;
    document.documentElement.dir = this.text.direction;
  }

  /** A time of day, or day and time when it was not today. */
  moment(iso: string): string {
    const date = new Date(iso);
    const isToday = date.toDateString() === new Date().toDateString();
    const options: Intl.DateTimeFormatOptions = isToday ? { timeStyle: "short" } : { dateStyle: "medium", timeStyle: "short" };
    return new Intl.DateTimeFormat(this.code, options).format(date);
  }

  time(iso: string): string {
    return new Intl.DateTimeFormat(this.code, { timeStyle: "short" }).format(new Date(iso));
  }

  day(iso: string): string {
    return new Intl.DateTimeFormat(this.code, { weekday: "long", day: "numeric", month: "long" }).format(new Date(iso));
  }

  number(count: number): string {
    return new Intl.NumberFormat(this.code).format(count);
  }

  percent(share: number): string {
    return new Intl.NumberFormat(this.code, { style: "percent" }).format(share);
  }

  /** A size in the unit that fits, such as 4.7 GB. */
  bytes(count: number): string {
    const units = ["byte", "kilobyte", "megabyte", "gigabyte", "terabyte"] as const;
    const step = Math.min(Math.floor(Math.log10(Math.max(count, 1)) / 3), units.length - 1);
    const options: Intl.NumberFormatOptions = { style: "unit", unit: units[step] ?? "byte", maximumFractionDigits: step === 0 ? 0 : 1 };
    return new Intl.NumberFormat(this.code, options).format(count / 1_000 ** step);
  }

  /** For the list: the time today, the weekday this week, the date before. */
  brief(iso: string): string {
    const date = new Date(iso);
    const age = Date.now() - date.getTime();
    if (date.toDateString() === new Date().toDateString()) return this.time(iso);
    const options: Intl.DateTimeFormatOptions = age < 6 * 86_400_000 ? { weekday: "short" } : { day: "numeric", month: "short" };
    return new Intl.DateTimeFormat(this.code, options).format(date);
  }
}

export const language = new Language();
