-- Indexes and views of a database with all columns. Each export makes them anew.
CREATE INDEX IF NOT EXISTS cases_series ON cases (series, year, number);
CREATE INDEX IF NOT EXISTS cases_leave ON cases (leave_judge, leave);
CREATE INDEX IF NOT EXISTS entries_judge ON entries (judge) WHERE judge IS NOT NULL;
CREATE INDEX IF NOT EXISTS coverage_outcome ON coverage (outcome);

-- Who decided what: one row a judge.
DROP VIEW IF EXISTS leave_by_judge;
CREATE VIEW leave_by_judge AS
SELECT leave_judge AS judge, count(*) AS decisions, count(*) FILTER (WHERE leave = 'granted') AS granted,
       avg((leave = 'granted')::int)::float8 AS rate
FROM cases WHERE leave IS NOT NULL AND leave_judge IS NOT NULL GROUP BY leave_judge;

-- Entries that decide or hear something.
DROP VIEW IF EXISTS decisions;
CREATE VIEW decisions AS
SELECT e.case_id, e.position, e.entered_on, e.decided_on, e.kind, e.judge, e.officer, e.outcome, e.about, e.motion, e.final, e.text
FROM entries e WHERE e.outcome IS NOT NULL;
