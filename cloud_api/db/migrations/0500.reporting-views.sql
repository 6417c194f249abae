-- What Grafana and exports read. The role wattlease_grafana reaches these views and nothing else.
-- depends: 0101.metering-ledger 0200.leasing-estate 0300.alarms-core
--
-- The views belong to the owner of the tables, so row-level security does not apply behind them: a dashboard is for the
-- operator's staff. Every view carries organisation and site; people are counted, never named.

CREATE VIEW reporting.site AS
SELECT o.code AS organisation, s.code AS site, s.name_zh, s.name_en, s.time_zone, s.currency, s.contract_demand_kw
  FROM app.site s JOIN app.organisation o ON o.id = s.organisation_id;

CREATE VIEW reporting.point AS
SELECT o.code AS organisation, s.code AS site, g.name AS gateway, d.name AS device, d.label AS device_label, p.name AS point,
       p.kind, p.quantity, p.unit, p.id AS point_id, v.value, v.observed_at, v.quality
  FROM app.point p
  JOIN app.device d ON d.id = p.device_id
  JOIN app.gateway g ON g.id = d.gateway_id
  JOIN app.site s ON s.id = g.site_id
  JOIN app.organisation o ON o.id = s.organisation_id
  LEFT JOIN app.latest_value v ON v.point_id = p.id
 WHERE p.retired_at IS NULL AND d.retired_at IS NULL;

-- Good and uncertain observations; filter by observed_at, which every index begins with after the point.
CREATE VIEW reporting.observation AS
SELECT p.organisation, p.site, p.device, p.point, p.quantity, p.unit, o.observed_at, o.value
  FROM app.observation o JOIN reporting.point p ON p.point_id = o.point_id
 WHERE o.quality <= 1;

CREATE VIEW reporting.device AS
SELECT o.code AS organisation, s.code AS site, g.name AS gateway, d.name AS device, d.label, d.profile, d.bus, d.state,
       d.state_since, d.last_error
  FROM app.device d
  JOIN app.gateway g ON g.id = d.gateway_id
  JOIN app.site s ON s.id = g.site_id
  JOIN app.organisation o ON o.id = s.organisation_id
 WHERE d.retired_at IS NULL;

CREATE VIEW reporting.gateway AS
SELECT o.code AS organisation, s.code AS site, g.name AS gateway, g.label, g.last_seen_at, g.clock_offset_ms,
       g.agent ->> 'version' AS agent_version, g.is_enabled
  FROM app.gateway g
  JOIN app.site s ON s.id = g.site_id
  JOIN app.organisation o ON o.id = s.organisation_id;

-- A meter with its power point: the total of the device behind the register that is open now.
CREATE VIEW reporting.meter AS
SELECT o.code AS organisation, s.code AS site, m.id AS meter_id, m.code AS meter, m.name_zh, m.name_en, m.utility, m.use,
       parent.code AS parent, r.id AS register_id, power.id AS power_point_id, v.value / 1000 AS power_kw,
       v.observed_at AS power_at
  FROM app.meter m
  JOIN app.site s ON s.id = m.site_id
  JOIN app.organisation o ON o.id = s.organisation_id
  LEFT JOIN app.meter parent ON parent.id = m.parent_meter_id
  LEFT JOIN app.register r ON r.meter_id = m.id AND r.quantity = 'active_energy_import' AND r.open_period @> now()
  LEFT JOIN app.point e ON e.id = r.point_id
  LEFT JOIN LATERAL (SELECT p.id FROM app.point p
                      WHERE p.device_id = e.device_id AND p.name IN ('active_power_total', 'active_power')
                        AND p.retired_at IS NULL
                      ORDER BY p.name DESC LIMIT 1) power ON true
  LEFT JOIN app.latest_value v ON v.point_id = power.id AND v.quality <= 1;

CREATE VIEW reporting.meter_power AS
SELECT m.organisation, m.site, m.meter, m.name_zh, m.name_en, m.use, o.observed_at, o.value / 1000 AS power_kw
  FROM reporting.meter m JOIN app.observation o ON o.point_id = m.power_point_id
 WHERE o.quality <= 1;

-- The interval ledger, as bills see it: kWh, quality, method. A missing interval has no quantity here.
CREATE VIEW reporting.meter_interval AS
SELECT o.code AS organisation, s.code AS site, m.code AS meter, m.name_zh, m.name_en, m.use, m.utility, r.quantity AS register,
       r.unit, i.starts_at, i.ends_at, CASE WHEN i.quality <> 'missing' THEN i.quantity END AS quantity, i.quality, i.method,
       i.reason
  FROM app.interval i
  JOIN app.register r ON r.id = i.register_id
  JOIN app.meter m ON m.id = r.meter_id
  JOIN app.site s ON s.id = m.site_id
  JOIN app.organisation o ON o.id = s.organisation_id;

-- Energy of tenants' own meters in each interval, by the lease that held the space on that local day.
CREATE VIEW reporting.tenant_interval AS
SELECT o.code AS organisation, s.code AS site, t.code AS tenant, t.name_zh, t.name_en, i.starts_at,
       sum(i.quantity * ms.share) AS energy_kwh
  FROM app.lease_space l
  JOIN app.tenant t ON t.id = l.tenant_id
  JOIN app.meter_space ms ON ms.space_id = l.space_id
  JOIN app.meter m ON m.id = ms.meter_id AND m.use = 'tenant' AND m.utility = 'electricity'
  JOIN app.site s ON s.id = m.site_id
  JOIN app.organisation o ON o.id = s.organisation_id
  JOIN app.register r ON r.meter_id = m.id AND r.quantity = 'active_energy_import'
  JOIN app.interval i ON i.register_id = r.id AND i.quality <> 'missing' AND ms.valid @> i.starts_at
                     AND l.term @> (i.starts_at AT TIME ZONE s.time_zone)::date
 GROUP BY o.code, s.code, t.code, t.name_zh, t.name_en, i.starts_at;

-- Air: what the sensors in a space say now and said before; `oat` is the air outdoors.
CREATE VIEW reporting.room_point AS
SELECT o.code AS organisation, site.code AS site, e.code AS equipment, f.code AS floor, sp.code AS space, sp.name_zh, sp.name_en,
       ep.role, p.unit,
       p.id AS point_id, v.value, v.observed_at
  FROM app.equipment e
  JOIN app.equipment_point ep ON ep.equipment_id = e.id AND ep.role IN ('zone_temp', 'co2', 'humidity', 'oat')
  JOIN app.space sp ON sp.id = e.space_id
  JOIN app.floor f ON f.id = sp.floor_id
  JOIN app.site site ON site.id = e.site_id
  JOIN app.organisation o ON o.id = site.organisation_id
  JOIN app.point p ON p.id = ep.point_id
  LEFT JOIN app.latest_value v ON v.point_id = p.id AND v.quality <= 1;

CREATE VIEW reporting.room_observation AS
SELECT r.organisation, r.site, r.floor, r.space, r.name_zh, r.name_en, r.role, r.unit, o.observed_at, o.value
  FROM reporting.room_point r JOIN app.observation o ON o.point_id = r.point_id
 WHERE o.quality <= 1;

CREATE VIEW reporting.alarm AS
SELECT o.code AS organisation, s.code AS site, a.id AS alarm_id, a.subject, a.rule, a.severity, a.active, a.acknowledged,
       a.suppression, a.opened_at, a.cleared_at, a.acknowledged_at, a.occurrence
  FROM app.alarm a
  JOIN app.site s ON s.id = a.site_id
  JOIN app.organisation o ON o.id = s.organisation_id;

CREATE VIEW reporting.alarm_occurrence AS
SELECT o.code AS organisation, s.code AS site, a.subject, a.rule, a.severity, x.occurrence, x.opened_at, x.acknowledged_at,
       x.cleared_at
  FROM app.alarm_occurrence x
  JOIN app.alarm a ON a.id = x.alarm_id
  JOIN app.site s ON s.id = a.site_id
  JOIN app.organisation o ON o.id = s.organisation_id;
