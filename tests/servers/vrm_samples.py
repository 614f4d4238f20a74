"""The sample answers of VRM's documents, old and new, as valid JSON.

The documents were scanned. Repaired: an array closed as an object, a comma after a last element, an extra
quote after ``"productCode":""``, and the stats, whose first page repeats four points for hundreds of lines
until it breaks off. The points that fit are those whose sum is the total printed below them.
"""

INSTALLATIONS = b"""
{"success": true, "records": [{
  "idSite": 100, "name": "Test installation", "idUser": 1001, "pvMax": 12258, "reports_enabled": false,
  "accessLevel": 1, "timezone": "UTC", "owner": true, "geofence": false, "geofenceEnabled": false,
  "device_icon": "solar"}]}
"""

INSTALLATIONS_EXTENDED = b"""
{"success": true, "records": [{
  "idSite": 100, "name": "Test installation", "idUser": 1001, "pvMax": 12258, "accessLevel": 1,
  "timezone": "UTC", "owner": true, "geofence": false, "geofenceEnabled": false, "device_icon": "solar",
  "alarm": false, "last_timestamp": 1472217903, "tags": [{"idTag": 41, "name": "ok"}], "timezone_offset": 7200,
  "extended": [
    {"idDataAttribute": 4, "code": "lt", "description": "Latitude", "formatWithUnit": "%.5F LAT",
     "rawValue": "52.7237", "textValue": null, "formattedValue": "52.72370 LAT"},
    {"idDataAttribute": 5, "code": "lg", "description": "Longitude", "formatWithUnit": "%.5F LNG",
     "rawValue": "7.0896", "textValue": null, "formattedValue": "7.08960 LNG"},
    {"idDataAttribute": 135, "code": "g2", "description": "Grid L2", "formatWithUnit": "%.0F W",
     "rawValue": "0", "textValue": null, "formattedValue": "0 W"},
    {"idDataAttribute": 136, "code": "g3", "description": "Grid L3", "formatWithUnit": "%.0F W",
     "rawValue": "0", "textValue": null, "formattedValue": "0 W"},
    {"idDataAttribute": 143, "code": "bv", "description": "Battery Voltage (System)",
     "formatWithUnit": "%.2F V", "rawValue": "54.12", "textValue": null, "formattedValue": "54.12 V"},
    {"idDataAttribute": 144, "code": "bs", "description": "Battery State of Charge (System)",
     "formatWithUnit": "%.1F %%", "rawValue": "76", "textValue": null, "formattedValue": "76.0 %"},
    {"idDataAttribute": 147, "code": "bc", "description": "Battery Current (System)",
     "formatWithUnit": "%.2F A", "rawValue": "17.9", "textValue": null, "formattedValue": "17.90 A"},
    {"idDataAttribute": 215, "code": "bst", "description": "Battery state", "formatWithUnit": "%s",
     "rawValue": null, "textValue": "charging", "formattedValue": "charging"},
    {"rawValue": 8, "formatWithUnit": "%.0F W", "code": "consumption", "description": "Consumption",
     "textValue": null, "idDataAttribute": null, "formattedValue": "8 W"},
    {"rawValue": 0, "formatWithUnit": "%.0F W", "code": "solar_yield", "description": "Solar_yield",
     "textValue": null, "idDataAttribute": null, "formattedValue": "0 W"},
    {"rawValue": 49.0818, "formatWithUnit": "%.0F W", "code": "from_to_grid", "description": "From_to_grid",
     "textValue": null, "idDataAttribute": null, "formattedValue": "49 W"},
    {"rawValue": 0, "formatWithUnit": "", "code": "generator", "description": "Generator",
     "textValue": null, "idDataAttribute": null, "formattedValue": ""},
    {"rawValue": 0, "formatWithUnit": "", "code": "ac_in", "description": "Ac_in",
     "textValue": null, "idDataAttribute": null, "formattedValue": ""},
    {"rawValue": 0, "formatWithUnit": "", "code": "ac_out", "description": "Ac_out",
     "textValue": null, "idDataAttribute": null, "formattedValue": ""}],
  "current_time": "11:25"}]}
"""

INSTALLATIONS_EXTENDED_OF_THE_NEWEST_DOCUMENT = INSTALLATIONS_EXTENDED.replace(b'"%.1F %%"', b'"%.1F %"')
"""The newest document has a single percent sign."""

SYSTEM_OVERVIEW = b"""
{"success":true, "records":{"devices":[
  {"name":"Gateway", "productCode":"", "productName":"Venus GX", "firmwareVersion":"v2.09",
   "lastConnection":1505459195, "class":"device-gateway", "loggingInterval":60,
   "lastPowerUpOrRestart":1504551552},
  {"name":"Temperature sensor", "productCode":"", "productName":"a162", "lastConnection":1505459195,
   "class":null, "instance":23}], "unconfigured_devices":false}}
"""

DIAGNOSTICS = b"""
{"success": true, "records": [{
  "idSite": 1495, "timestamp": 1497056046, "Device": "Gateway", "instance": 0, "idDataAttribute": 1,
  "description": "gatewayID", "formatWithUnit": "%s", "dbusServiceType": null, "dbusPath": null,
  "formattedValue": "Venus", "dataAttributeEnumValues": [
    {"nameEnum": "VGR, VGR2 or VER", "valueEnum": 0}, {"nameEnum": "Venus", "valueEnum": 1},
    {"nameEnum": "Venus", "valueEnum": 2}], "id": 1}], "num_records": 1}
"""

STATS_REFUSED = b'{"success":false,"error_code":"no_data","errors":["Site has no stats for this period."]}'

STATS = b"""
{"success": true, "records": {"Pc": [
  [1441066216000, 12.927161], [1441152616000, 28.52883], [1441239016000, 17.722068],
  [1441325416000, 9.1537885], [1441411816000, 4.453626], [1441498216000, 4.5079915],
  [1441584616000, 16.8285763], [1441671016000, 12.1123506], [1441757416000, 29.2207336],
  [1441843816000, 29.7107766], [1441930216000, 13.5401983], [1442016616000, 5.872294]]},
 "totals": {"Pb": 2.5122129, "Pc": 184.5783944, "Gb": 9.3752899, "Gc": 252.0008088, "Pg": 64.7871119,
  "Bc": 0.0182044, "kwh": 513.2720223}}
"""

OVERALL_STATS = b"""
{"success": true, "records": {
  "year": {"totals": {"Gc": 2890.3096331091, "Pc": 444.43205584318, "Bc": 285.16498499073, "gc": false},
           "percentages": {"Gc": 80, "Pc": 12, "Bc": 8, "gc": 0}},
  "month": {"totals": {"Gc": 181.18626743555, "Pc": 109.40366000833, "Bc": 46.909044223721, "gc": false},
            "percentages": {"Gc": 54, "Pc": 32, "Bc": 14, "gc": 0}},
  "week": {"totals": {"Gc": 52.626889668405, "Pc": 20.215319919633, "Bc": 7.2363689020276, "gc": false},
           "percentages": {"Gc": 66, "Pc": 25, "Bc": 9, "gc": 0}},
  "today": {"totals": {"Gc": 5.9271823316813, "Pc": 2.7864799629897, "Bc": 2.0481022689492, "gc": false},
            "percentages": {"Gc": 55, "Pc": 26, "Bc": 19, "gc": 0}}}}
"""

TOKEN_CREATED = b'{"success": true, "token": "abcd1234efab1234", "idAccessToken": 123}'

TOKEN_LIST = b"""
{"success": true, "tokens": [
  {"name": "Token #1", "idAccessToken": "50", "createdOn": "1508415114", "scope": "FULL_ACCESS", "expires": null},
  {"name": "Token #2", "idAccessToken": "51", "createdOn": "1508415116", "scope": "FULL_ACCESS", "expires": null},
  {"name": "Token #3", "idAccessToken": "52", "createdOn": "1508415119", "scope": "FULL_ACCESS", "expires": null}]}
"""

TOKEN_REVOKED = b'{"success": true, "data": {"removed": 3}}'
