-- name: insert_order
-- A new order; one alarm has at most one open order.
INSERT INTO work_order (organisation_id, site_id, tenant_id, space_id, equipment_id, alarm_id, kind, state, priority,
                        title_zh, title_en, description, due_at, created_by, created_at, estimated_per_day,
                        unit)
VALUES (%(organisation_id)s, %(site_id)s, %(tenant_id)s, %(space_id)s, %(equipment_id)s, %(alarm_id)s, %(kind)s,
        %(state)s, %(priority)s, %(title_zh)s, %(title_en)s, %(description)s, %(due_at)s, %(created_by)s,
        %(created_at)s, %(estimated_per_day)s, %(unit)s)
RETURNING id;

-- name: open_order_of_alarm
-- The order that is already about an alarm.
SELECT id FROM work_order WHERE alarm_id = %(alarm_id)s AND state NOT IN ('confirmed', 'rejected');

-- name: add_step
-- One line of the checklist.
INSERT INTO work_order_step (work_order_id, number, text_zh, text_en)
VALUES (%(id)s, %(number)s, %(zh)s, %(en)s);

-- name: tick_step
-- Mark a line of the checklist as done, or not.
UPDATE work_order_step SET done_by = %(actor)s, done_at = %(at)s
 WHERE work_order_id = %(id)s AND number = %(number)s RETURNING number;

-- name: add_part
-- A part that was used.
INSERT INTO work_order_part (work_order_id, name, quantity, cost) VALUES (%(id)s, %(name)s, %(quantity)s, %(cost)s);

-- name: add_entry
-- A comment, a photo, or a change of state.
INSERT INTO work_order_entry (work_order_id, at, actor, kind, text, photo, photo_type)
VALUES (%(id)s, %(at)s, %(actor)s, %(kind)s, %(text)s, %(photo)s, %(photo_type)s);

-- name: order_for_change
-- One order, locked.
SELECT * FROM work_order WHERE id = %(id)s FOR UPDATE;

-- name: order
-- One order with what it is about.
SELECT w.*, e.code AS equipment_code, e.name_zh AS equipment_zh, e.name_en AS equipment_en, t.name_zh AS tenant_zh,
       t.name_en AS tenant_en, s.time_zone, s.currency
  FROM work_order w JOIN site s ON s.id = w.site_id
  LEFT JOIN equipment e ON e.id = w.equipment_id LEFT JOIN tenant t ON t.id = w.tenant_id
 WHERE w.id = %(id)s;

-- name: orders
-- Orders by state, the most urgent first.
SELECT w.id, w.kind, w.state, w.priority, w.title_zh, w.title_en, w.assignee, w.due_at, w.created_at, w.closed_at,
       w.reopened_count, e.name_zh AS equipment_zh, e.name_en AS equipment_en, t.name_zh AS tenant_zh,
       t.name_en AS tenant_en
  FROM work_order w LEFT JOIN equipment e ON e.id = w.equipment_id LEFT JOIN tenant t ON t.id = w.tenant_id
 WHERE (%(closed)s AND w.state IN ('confirmed', 'rejected')) OR (NOT %(closed)s AND w.state NOT IN ('confirmed', 'rejected'))
 ORDER BY w.closed_at DESC NULLS FIRST, w.priority, w.due_at NULLS LAST, w.id LIMIT 500;

-- name: requests_of_tenant
-- What a tenant asked for, the newest first.
SELECT id, state, title_zh, title_en, created_at, closed_at FROM work_order
 WHERE tenant_id = %(tenant_id)s AND kind = 'request' ORDER BY id DESC LIMIT 200;

-- name: set_state
-- The new state with what goes with it.
UPDATE work_order SET state = %(state)s, assignee = %(assignee)s, started_at = %(started_at)s, done_at = %(done_at)s,
       confirm_at = %(confirm_at)s, closed_at = %(closed_at)s, reopened_count = %(reopened_count)s
 WHERE id = %(id)s;

-- name: set_due
-- Another day to be done by.
UPDATE work_order SET due_at = %(due_at)s WHERE id = %(id)s;

-- name: steps
-- The checklist.
SELECT number, text_zh, text_en, done_by, done_at FROM work_order_step WHERE work_order_id = %(id)s ORDER BY number;

-- name: parts
-- The parts used.
SELECT name, quantity, cost FROM work_order_part WHERE work_order_id = %(id)s ORDER BY id;

-- name: entries
-- What happened, newest last; photos by their number.
SELECT id, at, actor, kind, text, photo_type FROM work_order_entry WHERE work_order_id = %(id)s ORDER BY id LIMIT 500;

-- name: photo
-- One photo.
SELECT photo, photo_type FROM work_order_entry WHERE id = %(entry_id)s AND work_order_id = %(id)s AND kind = 'photo';

-- name: waiting_for_confirmation
-- Done orders about an alarm, with the alarm's present state and whether it opened again since.
SELECT w.id, w.done_at, w.confirm_at, w.equipment_id, w.site_id, a.rule, a.active, a.verdict,
       coalesce(a.opened_at, (SELECT max(o.opened_at) FROM alarm_occurrence o WHERE o.alarm_id = a.id), w.created_at)
       AS opened_at,
       (a.active OR (a.opened_at IS NOT NULL AND a.opened_at > w.done_at)
        OR EXISTS (SELECT 1 FROM alarm_journal j WHERE j.alarm_id = a.id AND j.kind IN ('opened', 'reopened')
                    AND j.at > w.done_at)) AS came_back
  FROM work_order w JOIN alarm a ON a.id = w.alarm_id
 WHERE w.state = 'done' AND w.confirm_at IS NOT NULL FOR UPDATE OF w;

-- name: set_measured
-- What the repair saved, by the data.
UPDATE work_order SET measured_before = %(before)s, measured_after = %(after)s, unit = coalesce(%(unit)s, unit),
       saved_money_per_day = %(money)s, measured_at = %(at)s, measured_how = %(how)s WHERE id = %(id)s;

-- name: people
-- Staff that an order can be given to.
SELECT login, display_name FROM app_user WHERE tenant_id IS NULL AND is_active ORDER BY login LIMIT 200;

-- name: savings
-- Verified savings of confirmed repairs, the largest first.
SELECT w.id, w.title_zh, w.title_en, w.closed_at, w.unit, w.estimated_per_day, w.measured_before, w.measured_after,
       w.saved_money_per_day, w.measured_how, s.currency
  FROM work_order w JOIN site s ON s.id = w.site_id
 WHERE w.state = 'confirmed' AND w.measured_at IS NOT NULL
 ORDER BY w.saved_money_per_day DESC NULLS LAST, w.closed_at DESC LIMIT 100;

-- name: windows
-- Maintenance windows: those that run or come, or the past ones, the newest first.
SELECT w.id, w.equipment_id, lower(w.period) AS starts_at, upper(w.period) AS ends_at, w.reason, w.created_by,
       w.cancelled_at, e.code, e.name_zh, e.name_en
  FROM maintenance_window w JOIN equipment e ON e.id = w.equipment_id
 WHERE (upper(w.period) > %(now)s::timestamptz AND w.cancelled_at IS NULL) <> %(past)s
 ORDER BY lower(w.period) DESC LIMIT 200;

-- name: cancel_window
-- End a window before its time.
UPDATE maintenance_window SET cancelled_at = %(now)s, cancelled_by = %(actor)s
 WHERE id = %(id)s AND cancelled_at IS NULL AND upper(period) > %(now)s::timestamptz RETURNING equipment_id;

-- name: plans
-- Preventive plans by their next day.
SELECT p.id, p.equipment_id, p.title_zh, p.title_en, p.every_days, p.next_on, p.window_hours, p.is_enabled, e.code,
       e.name_zh, e.name_en
  FROM preventive_plan p JOIN equipment e ON e.id = p.equipment_id ORDER BY NOT p.is_enabled, p.next_on, p.id LIMIT 500;

-- name: set_plan
-- Switch a plan on or off, or move its next day.
UPDATE preventive_plan SET is_enabled = %(is_enabled)s, next_on = coalesce(%(next_on)s::date, next_on)
 WHERE id = %(id)s RETURNING id;

-- name: equipment
-- What can be maintained.
SELECT id, code, name_zh, name_en FROM equipment WHERE brick_class NOT IN ('Access_Reader') ORDER BY code LIMIT 1000;

-- name: equipment_by_code
-- One equipment by its code.
SELECT id FROM equipment WHERE code = %(code)s;

-- name: add_window
-- A maintenance window of an equipment.
INSERT INTO maintenance_window (organisation_id, equipment_id, period, reason, created_by)
SELECT e.organisation_id, e.id, tstzrange(%(start)s, %(end)s), %(reason)s, %(created_by)s
  FROM equipment e WHERE e.id = %(equipment_id)s RETURNING id;

-- name: windows_now
-- Equipment under maintenance at an instant, and until when.
SELECT equipment_id, max(upper(period)) AS until, min(reason) AS reason FROM maintenance_window
 WHERE period @> %(now)s::timestamptz AND cancelled_at IS NULL GROUP BY equipment_id;

-- name: plans_due
-- Preventive plans whose day has come, with the site's zone.
SELECT p.*, e.site_id, s.time_zone FROM preventive_plan p JOIN equipment e ON e.id = p.equipment_id
  JOIN site s ON s.id = e.site_id
 WHERE p.is_enabled AND p.next_on <= (%(now)s AT TIME ZONE s.time_zone)::date FOR UPDATE OF p;

-- name: add_plan
-- A preventive plan.
INSERT INTO preventive_plan (organisation_id, equipment_id, title_zh, title_en, every_days, next_on, window_hours)
SELECT e.organisation_id, e.id, %(title_zh)s, %(title_en)s, %(every_days)s, %(next_on)s, %(window_hours)s
  FROM equipment e WHERE e.id = %(equipment_id)s RETURNING id;

-- name: advance_plan
-- The plan's next day.
UPDATE preventive_plan SET next_on = %(next_on)s WHERE id = %(id)s;

-- name: organisation_of_site
-- Whose site it is.
SELECT organisation_id FROM site WHERE id = %(site_id)s;
