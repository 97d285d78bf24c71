-- Packed floats do not get smaller, and pglz took half of a round's commit to find that out.
-- Holds for records from now on; what stands already is read as before.

ALTER TABLE journal ALTER payload SET STORAGE EXTERNAL;
ALTER TABLE journal_default ALTER payload SET STORAGE EXTERNAL;
