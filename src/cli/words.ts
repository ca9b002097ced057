// Numbers as people read them.

/** `1,234,567` */
export function count(value: number): string {
  return Math.round(value).toLocaleString("en-US");
}

const units = ["bytes", "KB", "MB", "GB", "TB"];

/** `144.7 MB`, in powers of 1,000 */
export function bytes(value: number): string {
  const unit = unitOf(value);
  return `${inUnit(value, unit)} ${units[unit]}`;
}

/** `3.2 of 144.7 MB` */
export function bytesOf(part: number, whole: number): string {
  return `${inUnit(part, unitOf(whole))} of ${bytes(whole)}`;
}

function unitOf(value: number): number {
  let unit = 0;
  while (value >= 999.95 && unit < units.length - 1) {
    value /= 1_000;
    unit += 1;
  }
  return unit;
}

function inUnit(value: number, unit: number): string {
  return unit === 0 ? String(value) : (value / 1_000 ** unit).toFixed(1);
}

/** `45 ms`, `0.4 s`, `2 min 5 s`, `1 h 3 min` */
export function duration(ms: number): string {
  if (ms < 99.5) return `${Math.round(ms)} ms`;
  if (ms < 59_950) return `${(ms / 1_000).toFixed(1)} s`;
  const seconds = Math.round(ms / 1_000);
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min ${seconds % 60} s`;
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/** `1 message`, `2 messages` */
export function counted(value: number, noun: string): string {
  return `${count(value)} ${noun}${value === 1 ? "" : "s"}`;
}
