-- A mark that several batches share is safe however long one of them takes to commit.
-- depends: 0150.ingest-cheaper

-- Only registers that were bound to the point at that time have anything to recompute. While an interval is still far
-- from its end, one mark is enough for it. Who shares a mark holds it (a key share lock) until the commit, and whoever
-- recomputes takes only marks that nobody holds, before it reads the readings; a mark that is taken is not shared.
CREATE OR REPLACE FUNCTION app.mark_dirty(
    p_point_id bigint[], p_first timestamptz[], p_last timestamptz[], p_settled_before timestamptz
) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO app.dirty_range (register_id, starts_at, ends_at)
    SELECT r.id, t.first, t.last
      FROM unnest(p_point_id, p_first, p_last) AS t(point_id, first, last)
      JOIN app.register r ON r.point_id = t.point_id AND r.open_period && tstzrange(t.first, t.last, '[]')
      JOIN app.meter m ON m.id = r.meter_id
     CROSS JOIN LATERAL date_bin(make_interval(mins => m.interval_minutes), t.first, timestamptz 'epoch') slot(starts_at)
     WHERE slot.starts_at + make_interval(mins => m.interval_minutes) <= p_settled_before
        OR NOT EXISTS (SELECT 1 FROM app.dirty_range d
                        WHERE d.register_id = r.id AND d.starts_at BETWEEN slot.starts_at AND t.first
                          FOR KEY SHARE SKIP LOCKED);
END $$;
