BEGIN TRANSACTION;
CREATE TABLE events (
            time INTEGER NOT NULL, source TEXT NOT NULL, kind TEXT NOT NULL, id TEXT NOT NULL,
            received_at INTEGER NOT NULL, detail TEXT NOT NULL, PRIMARY KEY (source, id, time)
        ) WITHOUT ROWID;
INSERT INTO "events" VALUES(1772366400000000,'vrm/home/151001/288','alarm','151001/alarm/4157/raised',1772366401000000,'{"active": true, "alarm": "151001/alarm/4157", "text": "Low battery", "device": "Battery Monitor", "instance": 288, "started": null}');
INSERT INTO "events" VALUES(1772366400000000,'vrm/home/151001/288','gap','gap:1',1772366401000000,'{"from": "2026-03-01T12:00:00+00:00", "to": "2026-03-01T12:00:00+00:00", "reason": "not_recorded", "quantities": ["battery_soc"]}');
INSERT INTO "events" VALUES(1772366400000000,'vrm/home/151001/288','status','status:1',1772366401000000,'{"state": "stale", "reason": "no log for 16 min", "retry_in": null}');
CREATE TABLE hours (
    source INTEGER NOT NULL, quantity INTEGER NOT NULL, time INTEGER NOT NULL,
    count INTEGER NOT NULL, mean REAL NOT NULL, least REAL NOT NULL, most REAL NOT NULL,
    PRIMARY KEY (source, quantity, time)
) WITHOUT ROWID;
CREATE TABLE minutes (
    source INTEGER NOT NULL, quantity INTEGER NOT NULL, time INTEGER NOT NULL,
    count INTEGER NOT NULL, mean REAL NOT NULL, least REAL NOT NULL, most REAL NOT NULL,
    PRIMARY KEY (source, quantity, time)
) WITHOUT ROWID;
CREATE TABLE positions (
            output TEXT PRIMARY KEY, position TEXT NOT NULL, saved_at INTEGER NOT NULL
        );
INSERT INTO "positions" VALUES('energy-live','{"v":1,"sources":[{"id":["vrm","home","151001",0],"at":[[null,288,"2026-03-01T12:00:00+00:00",7,"151001/288/1772366400",[""],32,34,[[1772362800,1772363400]],[["151001/alarm/4157","Low battery","Battery Monitor",288]]]]}]}',1772366400000000);
CREATE TABLE quantities (
            number INTEGER PRIMARY KEY, quantity TEXT NOT NULL UNIQUE, unit TEXT NOT NULL
        );
INSERT INTO "quantities" VALUES(1,'battery_power','W');
INSERT INTO "quantities" VALUES(2,'battery_soc','%');
CREATE TABLE raw_readings (
            source INTEGER NOT NULL, time INTEGER NOT NULL, id TEXT NOT NULL, quantity INTEGER NOT NULL,
            revision INTEGER NOT NULL, value REAL NOT NULL, delay_ms INTEGER NOT NULL,
            backfilled INTEGER NOT NULL, PRIMARY KEY (source, time, id, quantity, revision)
        ) WITHOUT ROWID;
INSERT INTO "raw_readings" VALUES(1,1772366400000000,'151001/288/1772366400',1,2,-540.5,1000,1);
INSERT INTO "raw_readings" VALUES(1,1772366400000000,'151001/288/1772366400',2,2,71.25,1000,1);
CREATE TABLE sources (
            number INTEGER PRIMARY KEY, source TEXT NOT NULL UNIQUE,
            vendor TEXT NOT NULL, account TEXT NOT NULL, site TEXT NOT NULL, instance INTEGER NOT NULL
        );
INSERT INTO "sources" VALUES(1,'vrm/home/151001/288','vrm','home','151001',288);
CREATE INDEX events_time ON events (kind, time);
CREATE VIEW readings AS 
        SELECT strftime('%Y-%m-%dT%H:%M:%f', r.time / 1e6, 'unixepoch') || 'Z' AS time, s.source, q.quantity, r.value, q.unit, r.id, r.revision,
            strftime('%Y-%m-%dT%H:%M:%f', (r.time + r.delay_ms * 1000) / 1e6, 'unixepoch') || 'Z' AS received_at, r.backfilled,
            r.time / 1e6 AS unix_time 
    FROM raw_readings r JOIN sources s ON s.number = r.source JOIN quantities q ON q.number = r.quantity;
CREATE VIEW readings_wide AS 
        SELECT strftime('%Y-%m-%dT%H:%M:%f', time / 1e6, 'unixepoch') || 'Z' AS time, source, id, max(value) FILTER (WHERE quantity = 'grid_power') AS grid_power, max(value) FILTER (WHERE quantity = 'battery_power') AS battery_power, max(value) FILTER (WHERE quantity = 'pv_power') AS pv_power, max(value) FILTER (WHERE quantity = 'consumption_power') AS consumption_power, max(value) FILTER (WHERE quantity = 'generator_power') AS generator_power, max(value) FILTER (WHERE quantity = 'battery_soc') AS battery_soc, max(value) FILTER (WHERE quantity = 'battery_voltage') AS battery_voltage, max(value) FILTER (WHERE quantity = 'battery_current') AS battery_current, max(value) FILTER (WHERE quantity = 'battery_temperature') AS battery_temperature, max(value) FILTER (WHERE quantity = 'grid_import_energy') AS grid_import_energy, max(value) FILTER (WHERE quantity = 'grid_export_energy') AS grid_export_energy, max(value) FILTER (WHERE quantity = 'pv_energy') AS pv_energy, max(value) FILTER (WHERE quantity = 'consumption_energy') AS consumption_energy, max(value) FILTER (WHERE quantity = 'battery_charge_energy') AS battery_charge_energy, max(value) FILTER (WHERE quantity = 'battery_discharge_energy') AS battery_discharge_energy, max(value) FILTER (WHERE quantity = 'grid_l1_power') AS grid_l1_power, max(value) FILTER (WHERE quantity = 'grid_l2_power') AS grid_l2_power, max(value) FILTER (WHERE quantity = 'grid_l3_power') AS grid_l3_power, max(value) FILTER (WHERE quantity = 'consumption_l1_power') AS consumption_l1_power, max(value) FILTER (WHERE quantity = 'consumption_l2_power') AS consumption_l2_power, max(value) FILTER (WHERE quantity = 'consumption_l3_power') AS consumption_l3_power, max(value) FILTER (WHERE quantity = 'pv_l1_power') AS pv_l1_power, max(value) FILTER (WHERE quantity = 'pv_l2_power') AS pv_l2_power, max(value) FILTER (WHERE quantity = 'pv_l3_power') AS pv_l3_power, max(value) FILTER (WHERE quantity = 'consumption_ac_power') AS consumption_ac_power, max(value) FILTER (WHERE quantity = 'consumption_dc_power') AS consumption_dc_power, max(value) FILTER (WHERE quantity = 'pv_ac_power') AS pv_ac_power, max(value) FILTER (WHERE quantity = 'pv_dc_power') AS pv_dc_power, max(value) FILTER (WHERE quantity = 'ev_charger_power') AS ev_charger_power, max(value) FILTER (WHERE quantity = 'ev_charger_energy') AS ev_charger_energy, time / 1e6 AS unix_time
        FROM (SELECT r.time, s.source, r.id, q.quantity, r.value, max(r.revision) 
    FROM raw_readings r JOIN sources s ON s.number = r.source JOIN quantities q ON q.number = r.quantity
              GROUP BY r.source, r.time, r.id, r.quantity)
        GROUP BY source, time, id;
CREATE VIEW gaps AS 
        SELECT source, json_extract(detail, '$.from') AS start_time, json_extract(detail, '$.to') AS end_time,
            json_extract(detail, '$.reason') AS reason, json_extract(detail, '$.quantities') AS quantities,
            strftime('%Y-%m-%dT%H:%M:%f', received_at / 1e6, 'unixepoch') || 'Z' AS received_at FROM events WHERE kind = 'gap';
CREATE VIEW alarms AS 
        SELECT strftime('%Y-%m-%dT%H:%M:%f', time / 1e6, 'unixepoch') || 'Z' AS time, source, json_extract(detail, '$.active') AS active,
            json_extract(detail, '$.alarm') AS alarm, json_extract(detail, '$.text') AS text,
            json_extract(detail, '$.device') AS device,
            json_extract(detail, '$.instance') AS instance, json_extract(detail, '$.started') AS started
        FROM events WHERE kind = 'alarm';
CREATE VIEW statuses AS 
        SELECT strftime('%Y-%m-%dT%H:%M:%f', time / 1e6, 'unixepoch') || 'Z' AS time, source, json_extract(detail, '$.state') AS state,
            json_extract(detail, '$.reason') AS reason FROM events WHERE kind = 'status';
COMMIT;
PRAGMA application_id = 1701735542;
PRAGMA user_version = 1;
