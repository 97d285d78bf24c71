GRANT SELECT ON study, study_trial, study_event, segment_opening TO sapphire_read;
GRANT SELECT, INSERT ON study, study_trial, study_event, segment_opening TO sapphire_ops;
