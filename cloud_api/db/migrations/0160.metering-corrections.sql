-- A corrected reading beside the wrong one it replaces, whoever brought that one; resets whose last value nobody knows
-- are computed again, because all of the time up to them is missing.
-- depends: 0130.metering-decisions

ALTER TABLE app.reading DROP CONSTRAINT reading_source_check,
    ADD CONSTRAINT reading_source_check
        CHECK (source IN ('telemetry', 'manual', 'import', 'handover', 'exchange', 'correction'));

INSERT INTO app.dirty_range (register_id, starts_at, ends_at)
SELECT register_id, at, at FROM app.register_reset WHERE stop_value IS NULL AND undone_at IS NULL;
