/** How far back the list of payloads looks. */
export const DAYS = 30;
