-- Passwords of brokers that outcomes go to, apart from what is shown of a version.

ALTER TABLE version ADD COLUMN secrets TEXT NOT NULL DEFAULT '{}';
