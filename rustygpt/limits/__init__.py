"""Rate limits: who may ask how often. Profiles and assignments are rows, so a change holds for every process within two seconds."""
