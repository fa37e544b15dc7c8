-- Trials measured before splits had names all had the default ones.
ALTER TABLE trials ADD COLUMN splits VARCHAR DEFAULT '';
ALTER TABLE trials ALTER COLUMN splits SET NOT NULL;
