"""Sources that speak MQTT: doors, counters, sensors, other systems."""
