import { base } from '../../lib/base';
import type { AttributeValue } from '../../lib/api/model';

/** The address of what a plug-in has recorded. */
export function rowsHref(name: string, sensor = ''): string {
  const params = new URLSearchParams({ rows: name });
  if (sensor) params.set('sensor', sensor);
  return `${base}plugins?${params}`;
}

/** A value as it is written into a file. */
export function plain(value: AttributeValue | undefined): string {
  if (value === undefined) return '';
  if (typeof value === 'object') return value.base64;
  return String(value);
}
