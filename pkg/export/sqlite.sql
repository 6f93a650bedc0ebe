-- Indexes, search and views of a database with all columns. Each export makes them anew.
CREATE INDEX IF NOT EXISTS cases_series ON cases (series, year, number);
CREATE INDEX IF NOT EXISTS cases_filed ON cases (filed_on);
CREATE INDEX IF NOT EXISTS cases_leave ON cases (leave_judge, leave);
CREATE INDEX IF NOT EXISTS entries_judge ON entries (judge) WHERE judge IS NOT NULL;
CREATE INDEX IF NOT EXISTS coverage_outcome ON coverage (outcome);

-- Full-text search without a second copy of the texts:
-- SELECT case_id FROM cases WHERE row_id IN (SELECT rowid FROM cases_text WHERE cases_text MATCH 'roe');
CREATE VIRTUAL TABLE IF NOT EXISTS cases_text USING fts5 (style_of_cause, content = 'cases', content_rowid = 'row_id', tokenize = 'unicode61 remove_diacritics 2');
CREATE VIRTUAL TABLE IF NOT EXISTS entries_text USING fts5 (text, content = 'entries', content_rowid = 'row_id', tokenize = 'unicode61 remove_diacritics 2');
INSERT INTO cases_text (cases_text) VALUES ('rebuild');
INSERT INTO entries_text (entries_text) VALUES ('rebuild');

-- Who decided what: one row a judge.
DROP VIEW IF EXISTS leave_by_judge;
CREATE VIEW leave_by_judge AS
SELECT leave_judge AS judge, count(*) AS decisions, sum(leave = 'granted') AS granted, avg(leave = 'granted') AS rate
FROM cases WHERE leave IS NOT NULL AND leave_judge IS NOT NULL GROUP BY leave_judge;

-- Entries that decide or hear something.
DROP VIEW IF EXISTS decisions;
CREATE VIEW decisions AS
SELECT e.case_id, e.position, e.entered_on, e.decided_on, e.kind, e.judge, e.officer, e.outcome, e.about, e.motion, e.final, e.text
FROM entries e WHERE e.outcome IS NOT NULL;

-- The steps of each case.
DROP VIEW IF EXISTS milestones;
CREATE VIEW milestones AS
SELECT c.case_id, m.value ->> 'milestone' AS milestone, m.value ->> 'day' AS day, m.value ->> 'scheduled_on' AS scheduled_on,
       m.value ->> 'scheduled_at' AS scheduled_at, m.value ->> 'position' AS position, m.value ->> 'rule' AS rule
FROM cases c, json_each(c.milestones) m;
