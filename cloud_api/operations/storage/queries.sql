-- name: pieces
-- Chunks or partitions of the observation tables.
SELECT parent, name, starts_at, ends_at, row_count, byte_count, is_compressed FROM storage_pieces();

-- name: columnstore_bytes
-- What compression saved, per table.
SELECT parent, before_bytes, after_bytes FROM columnstore_bytes() WHERE after_bytes > 0;

-- name: whole_tables
-- Tables without pieces: events, and the ledger, which is never dropped. Rows as the planner last knew them.
SELECT c.relname AS parent, greatest(c.reltuples, 0)::bigint AS row_count, pg_total_relation_size(c.oid) AS byte_count
  FROM unnest(ARRAY['event', 'interval', 'interval_pack', 'interval_day', 'interval_revision'])
       WITH ORDINALITY AS t(name, place)
  JOIN pg_class c ON c.oid = ('app.' || t.name)::regclass
 ORDER BY t.place;

-- name: kinds
-- How long each kind is kept.
SELECT kind, keep_days, gone_before FROM storage_kind ORDER BY kind;

-- name: licence
-- 'timescale', 'apache', or null without TimescaleDB.
SELECT timescale_licence() AS licence;

-- name: holds
-- What still needs old data: marks that the ledger or the series have not worked off, periods that are not billed yet.
SELECT kind, needed_from, reason, what FROM (
SELECT 'registers' AS kind, greatest(min(starts_at), '0001-01-02') AS needed_from, 'ledger' AS reason, '' AS what
  FROM dirty_range HAVING count(*) > 0
UNION ALL
SELECT 'raw', min(first_at), 'series', '' FROM series_mark HAVING count(*) > 0
UNION ALL
SELECT 'registers', min(lower(b.period)::timestamp AT TIME ZONE s.time_zone), 'open_run', s.code
  FROM bill_run b JOIN site s ON s.id = b.site_id
 WHERE b.state NOT IN ('issued', 'cancelled')
 GROUP BY s.code
UNION ALL
SELECT 'registers', (coalesce((SELECT max(upper(b.period)) FROM bill_run b
                                WHERE b.site_id = t.site_id AND b.utility = t.utility AND b.state = 'issued'),
                              (SELECT min(lower(l.term)) FROM lease l
                                 JOIN lease_space x ON x.lease_id = l.id
                                 JOIN space p ON p.id = x.space_id
                                 JOIN floor f ON f.id = p.floor_id
                                 JOIN building g ON g.id = f.building_id
                                WHERE g.site_id = t.site_id))::timestamp AT TIME ZONE s.time_zone),
       'not_billed', s.code || ' ' || t.utility
  FROM site_tariff t JOIN site s ON s.id = t.site_id
 WHERE t.payer = 'tenants') needed
 WHERE needed_from IS NOT NULL;

-- name: ensure_ahead
-- Room for observations and what is derived from them, before they come.
SELECT ensure_observation_partitions(%(first)s, %(last)s)
       + ensure_year_partitions('observation_series', %(first)s, %(last)s) AS created;

-- name: set_up_columnstore
-- Returns the tables that are compressed from now on.
SELECT set_up_columnstore(%(after)s::interval) AS parent;

-- name: drop_oldest_piece
-- At most one piece; register readings among observations are moved first.
SELECT name, starts_at, ends_at, row_count, byte_count, moved_count FROM drop_oldest_piece(%(parent)s, %(cutoff)s);

-- name: delete_events
-- A limited number of the oldest events.
WITH old AS (SELECT id FROM event WHERE occurred_at < %(cutoff)s ORDER BY id LIMIT %(limit)s)
DELETE FROM event e USING old WHERE e.id = old.id;

-- name: events_gone
-- Nothing older is there any more.
UPDATE storage_kind SET gone_before = greatest(gone_before, %(cutoff)s) WHERE kind = 'events';

-- name: keep
-- Change how long a kind is kept.
UPDATE storage_kind SET keep_days = %(days)s, changed_by = %(actor)s, changed_at = %(now)s WHERE kind = %(kind)s;

-- name: write_journal
-- One line of what was done.
INSERT INTO storage_journal (at, action, kind, name, starts_at, ends_at, row_count, byte_count, note)
VALUES (%(at)s, %(action)s, %(kind)s, %(name)s, %(starts_at)s, %(ends_at)s, %(row_count)s, %(byte_count)s, %(note)s);

-- name: journal
-- The newest lines.
SELECT at, action, kind, name, starts_at, ends_at, row_count, byte_count, note
  FROM storage_journal ORDER BY id DESC LIMIT %(limit)s;
