// Addresses and networks as text; the server decides what is one.

/** Whether it could be an address or a network: what else is typed is not asked for. */
export const isTarget = (text: string) => /^(\d{1,3}(\.\d{1,3}){3}(\/\d{1,2})?|[0-9a-f:.]*:[0-9a-f:.]*(\/\d{1,3})?)$/i.test(text);
export const isNetwork = (text: string) => text.includes('/');

/** The network that neighbours of an address share: a /24, of IPv6 a /48. */
export function around(address: string): string | undefined {
  const four = /^(\d+\.\d+\.\d+)\.\d+$/.exec(address)?.[1];
  if (four) return `${four}.0/24`;
  if (!address.includes(':') || address.includes('.')) return undefined;
  const [head = '', tail] = address.split('::');
  const groups = head.split(':').filter(Boolean);
  const rest = tail === undefined ? [] : tail.split(':').filter(Boolean);
  const all = [...groups, ...Array.from({ length: Math.max(0, 8 - groups.length - rest.length) }, () => '0'), ...rest];
  const first = all.slice(0, 3);
  while (first.at(-1) === '0') first.pop();
  return `${first.join(':')}::/48`;
}
