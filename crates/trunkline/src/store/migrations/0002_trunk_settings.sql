-- How a trunk wants to be spoken to: one JSON document, {} for the defaults.
ALTER TABLE trunks ADD COLUMN settings TEXT NOT NULL DEFAULT '{}';
