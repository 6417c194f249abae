-- name: mark_dirty
-- Only registers that were bound to the point at that time have anything to recompute.
INSERT INTO dirty_range (register_id, starts_at, ends_at)
SELECT r.id, t.first, t.last
  FROM unnest(%(point_id)s::bigint[], %(first)s::timestamptz[], %(last)s::timestamptz[]) AS t(point_id, first, last)
  JOIN register r ON r.point_id = t.point_id AND r.open_period && tstzrange(t.first, t.last, '[]');
