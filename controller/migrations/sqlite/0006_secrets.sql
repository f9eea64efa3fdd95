-- Passwords of brokers that outcomes go to, apart from what is shown of a version. The same as in ../postgres/0006_secrets.sql.

ALTER TABLE version ADD COLUMN secrets TEXT NOT NULL DEFAULT '{}';
