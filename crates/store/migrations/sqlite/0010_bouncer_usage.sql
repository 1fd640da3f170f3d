-- What a bouncer told of itself last, as JSON; what one key's bouncers do with networks.
ALTER TABLE bouncer ADD COLUMN usage TEXT;
ALTER TABLE api_key ADD COLUMN ranges TEXT;
