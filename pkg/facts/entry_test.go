package facts_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"fct-scraper/pkg/facts"
)

// said returns the facts of an entry in one line: kind, then what is known.
func said(e *facts.Entry) string {
	parts := []string{e.Kind}
	if e.Final {
		parts = append(parts, "final")
	}
	for _, fact := range []struct {
		name  string
		value *string
	}{{"judge", e.Judge}, {"officer", e.Officer}, {"outcome", e.Outcome}} {
		if fact.value != nil {
			parts = append(parts, fact.name+"="+*fact.value)
		}
	}
	if len(e.About) > 0 {
		about := slices.Sorted(slices.Values(e.About))
		parts = append(parts, "about="+strings.Join(about, ","))
	}
	if e.Motion != nil {
		parts = append(parts, fmt.Sprintf("motion=%d", *e.Motion))
	}
	if e.DecidedOn != nil {
		parts = append(parts, "on="+*e.DecidedOn)
	}
	return strings.Join(parts, " ")
}

// TestEntryFacts has a text for each form in which the registry writes an entry. All names are
// invented.
func TestEntryFacts(t *testing.T) {
	t.Parallel()
	reader := load(t).NewReader()
	for _, test := range []struct{ name, text, want string }{
		// Decisions about leave.
		{"leave granted, hearing fixed", "Order rendered by The Honourable Madam Justice Quillfeather at Ottawa on 03-MAR-2016 granting the application for leave fixing the hearing at a Special Sitting at Halifax on 01-JUN-2016 to begin at 09:30 specifying documents to be produced and/or filed as follows: Tribunal to send its record by March 24, 2016 Decision filed on 03-MAR-2016 Considered by the Court without personal appearance entered in J. & O. Book, volume 1 page(s) 2 - 3", "order judge=Quillfeather outcome=granted about=leave,scheduling,tribunal_record on=2016-03-03"},
		{"leave dismissed, final", "(Final decision) Order rendered by Associate Chief Justice Inkwell at Ottawa on 12-OCT-2020 dismissing the application for leave Decision endorsed on the record on doc 1 received on 12-OCT-2020 Considered by the Court without personal appearance", "order final judge=Inkwell outcome=dismissed about=leave on=2020-10-12"},
		{"leave dismissed in French", "(Décision finale) Ordonnance rendu(e) par Monsieur le juge Parchemin à Ottawa le 14-FEV-2012 rejetant la demande d'autorisation Décision inscrite au dossier sur doc. #1 reçue le 15-FEV-2012 Pris en considération par la Cour sans comparution en personne", "order final judge=Parchemin outcome=dismissed about=leave on=2012-02-14"},
		{"French without accents, upper case", "(DECISION FINALE) ORDONNANCE RENDU(E) PAR MADAME LA JUGE DE LA PLUME A MONTREAL LE 14-AOU-2012 REJETANT LA DEMANDE D'AUTORISATION DECISION DEPOSEE LE 15-AOU-2012", "order final judge=de la Plume outcome=dismissed about=leave on=2012-08-14"},
		{"leave by predicate", "Order rendered by The Honourable Mr. Justice Wigsworth at Vancouver on 9-JAN-2013 The request for an extension of time is granted and this application for leave dismissed as no record was filed Decision endorsed on the record on document 1", "order judge=Wigsworth outcome=granted about=extension_of_time,leave on=2013-01-09"},
		{"certificate of an order", "Certificate of Order rendered by The Honourable Mr. Justice Benchley-Noir on 13-JUL-2009 endorsed on the record on Document #1 issued to parties Matter considered without personal appearance concerning the application for leave Result: The application for leave is refused.", "order judge=Benchley-Noir outcome=dismissed about=leave on=2009-07-13"},
		{"leave with consent in French", "Ordonnance rendu(e) par Madame la juge Robinette-Sceau à Ottawa le 18-MAI-2021 « 1. La demande d’autorisation est accordée, sur consentement; 2. L'audience aura lieu à Québec. » Décision déposée le 18-MAI-2021", "order judge=Robinette-Sceau outcome=granted about=consent,leave on=2021-05-18"},
		{"stay until leave is decided is not about leave", "Order rendered by The Honourable Mr. Justice Inkwell at Toronto on 13-APR-2006 granting the stay of execution until the application for leave is determined Decision filed on 13-APR-2006", "order judge=Inkwell outcome=granted about=stay_of_removal on=2006-04-13"},

		// Names, motions and stays in rarer forms.
		{"chief justice without honourable", "Order rendered by The Chief Justice Inkwell at Ottawa on 03-MAR-2015 dismissing the motion Decision filed on 03-MAR-2015", "order judge=Inkwell outcome=dismissed about=motion on=2015-03-03"},
		{"initials of a chief justice without points", "Order rendered by Inkwell CJ at Ottawa on 03-MAR-2015 dismissing the motion Decision filed on 03-MAR-2015", "order judge=Inkwell outcome=dismissed about=motion on=2015-03-03"},
		{"initials of an associate chief justice", "Order rendered by Plumet-Gagnon A.C.J. at Ottawa on 03-MAR-2015 granting the motion Decision filed on 03-MAR-2015", "order judge=Plumet-Gagnon outcome=granted about=motion on=2015-03-03"},
		{"judge after order of", "Order of The Honourable Mr. Justice Inkwell dated 03-MAR-2015 dismissing the motion", "order judge=Inkwell outcome=dismissed about=motion on=2015-03-03"},
		{"judge in parentheses", "Interim order (The Honourable Madam Justice Quillfeather) dated 03-MAR-2015 dismissing the motion", "order judge=Quillfeather outcome=dismissed about=motion on=2015-03-03"},
		{"judge after order of, French", "Ordonnance de Monsieur le juge Parchemin en date du 03-MAR-2015 rejetant la requête", "order judge=Parchemin outcome=dismissed about=motion on=2015-03-03"},
		{"order of a judge is cited by an officer", "Order rendered by Ines Nosuch, Prothonotary at Ottawa on 03-MAR-2015 extending the order of Mr. Justice Inkwell Decision filed on 03-MAR-2015", "order officer=Ines Nosuch outcome=other on=2015-03-03"},
		{"judge in the absence of another", "Order rendered by The Honourable Mr. Justice Inkwell, in the absence of the Honourable Madam Justice Quillfeather, at Ottawa on 03-MAR-2015 dismissing the motion", "order judge=Inkwell outcome=dismissed about=motion on=2015-03-03"},
		{"apostrophe of print and upper case", "ORDER RENDERED BY THE HONOURABLE MR. JUSTICE O’QUILL AT TORONTO ON 03-MAR-2015 DISMISSING THE MOTION DECISION FILED ON 03-MAR-2015", "order judge=O’Quill outcome=dismissed about=motion on=2015-03-03"},
		{"motion by ID", "Order rendered by Justice Inkwell at Ottawa on 03-MAR-2015 dismissing the notice of motion (ID 4) Decision filed on 03-MAR-2015", "order judge=Inkwell outcome=dismissed about=motion motion=4 on=2015-03-03"},
		{"motion at document", "Order rendered by Justice Inkwell at Ottawa on 03-MAR-2015 dismissing the motion at doc. 4 Decision filed on 03-MAR-2015", "order judge=Inkwell outcome=dismissed about=motion motion=4 on=2015-03-03"},
		{"motion by no.", "Order rendered by Justice Inkwell at Ottawa on 03-MAR-2015 dismissing motion no. 4 Decision filed on 03-MAR-2015", "order judge=Inkwell outcome=dismissed about=motion motion=4 on=2015-03-03"},
		{"motion by number sign", "Order rendered by Justice Inkwell at Ottawa on 03-MAR-2015 dismissing motion # 4 and motion #7 Decision filed on 03-MAR-2015", "order judge=Inkwell outcome=dismissed about=motion motion=4 on=2015-03-03"},
		{"motion by number, French", "Ordonnance rendu(e) par Madame la juge Parchemin à Montréal le 03-MAR-2015 rejetant la requête n° 4 Décision déposée le 03-MAR-2015", "order judge=Parchemin outcome=dismissed about=motion motion=4 on=2015-03-03"},
		{"motion with a figure that is no number", "Order rendered by Justice Inkwell at Ottawa on 03-MAR-2015 granting the motion; 4 copies are to be served Decision filed on 03-MAR-2015", "order judge=Inkwell outcome=granted about=motion on=2015-03-03"},
		{"order staying is what is asked", "Order rendered by Justice Inkwell at Ottawa on 03-MAR-2015 dismissing the motion for an order staying his removal Decision filed on 03-MAR-2015", "order judge=Inkwell outcome=dismissed about=motion,stay_of_removal on=2015-03-03"},
		{"order staying is cited", "Order rendered by Justice Inkwell at Ottawa on 03-MAR-2015 setting aside the order staying the removal Decision filed on 03-MAR-2015", "order judge=Inkwell outcome=other about=set_aside on=2015-03-03"},
		{"injunction against removal", "Order rendered by Justice Inkwell at Ottawa on 03-MAR-2015 granting the motion for an interim injunction preventing the removal Decision filed on 03-MAR-2015", "order judge=Inkwell outcome=granted about=motion,stay_of_removal on=2015-03-03"},
		{"injunction against removal, French", "Ordonnance rendu(e) par Madame la juge Parchemin à Montréal le 03-MAR-2015 rejetant la requête pour une injonction contre le renvoi Décision déposée le 03-MAR-2015", "order judge=Parchemin outcome=dismissed about=motion,stay_of_removal on=2015-03-03"},
		{"motion to defer a removal", "Notice of Motion on behalf of Applicant for an order deferring the applicant's removal filed on 02-MAR-2015", "motion about=motion,stay_of_removal"},
		{"motion for a deferral", "Notice of Motion on behalf of Applicant for a deferral of removal filed on 02-MAR-2015", "motion about=motion,stay_of_removal"},
		{"motion to delay a removal, French", "Avis de requête au nom du demandeur pour un report du renvoi déposé le 02-MAR-2015", "motion about=motion,stay_of_removal"},
		{"motion to delay a departure, French", "Avis de requête au nom du demandeur pour surseoir à son départ du Canada déposé le 02-MAR-2015", "motion about=motion,stay_of_removal"},
		{"motion de sursis", "Avis de requête au nom du demandeur de sursis avec preuve de signification déposé le 02-MAR-2015", "motion about=motion,stay_of_removal"},
		{"motion against a refusal to defer", "Notice of Motion on behalf of Applicant to quash the decision refusing a request to defer his removal filed on 02-MAR-2015", "motion about=motion,set_aside"},
		{"motion against a stay", "Notice of Motion on behalf of Respondent to set aside the order that stayed the removal filed on 02-MAR-2015", "motion about=motion,set_aside"},
		{"motion for a stay of proceedings, French", "Avis de requête au nom du défendeur en sursis des procédures déposé le 02-MAR-2015", "motion about=motion"},
		{"cannot be granted", "Order rendered by Justice Inkwell at Ottawa on 03-MAR-2015 the motion cannot be granted Decision filed on 03-MAR-2015", "order judge=Inkwell outcome=dismissed about=motion on=2015-03-03"},
		{"declined", "Order rendered by Justice Inkwell at Ottawa on 03-MAR-2015 declining to grant the stay Decision filed on 03-MAR-2015", "order judge=Inkwell outcome=dismissed about=stay_of_removal on=2015-03-03"},
		{"dismissed in the present, French", "Ordonnance rendu(e) par Madame la juge Parchemin à Montréal le 03-MAR-2015 La Cour rejette la requête Décision déposée le 03-MAR-2015", "order judge=Parchemin outcome=dismissed about=motion on=2015-03-03"},

		// Judgments.
		{"judgment with reasons", "(Final decision) Reasons for Judgment and Judgment dated 14-DEC-2005 rendered by The Honourable Mr. Justice Gavelstone Matter considered with personal appearance The Court's decision is with regard to Judicial Review Result: dismissed Filed on 14-DEC-2005 copies sent to parties Certificate of Judgment entered in J. & O. Book", "judgment final judge=Gavelstone outcome=dismissed about=judicial_review on=2005-12-14"},
		{"granted in part", "(Final decision) Reasons for Judgment and Judgment dated 9-SEP-2021 rendered by The Honourable Mr. Justice von Erdacht Matter considered with personal appearance The Court's decision is with regard to Judicial Review Result: granted in part Filed on 9-SEP-2021", "judgment final judge=von Erdacht outcome=granted about=judicial_review on=2021-09-09"},
		{"judgment on consent", "Judgment on Consent dated 08-JAN-2019 rendered by The Honourable Mr. Justice Lafiction Matter considered without personal appearance The Court's decision is with regard to Motion in writing Doc. No. 6 Result: granted Filed on 08-JAN-2019 Final Decision", "judgment final judge=Lafiction outcome=granted about=consent,judicial_review,motion motion=6 on=2019-01-08"},
		{"French judgment", "(Décision finale) Motifs de jugement et jugement en date du 6-OCT-2011 rendus par Monsieur le juge Pasréel Affaire considérée avec comparution en personne La décision de la Cour est concernant (le/la/l') Contrôle Judiciaire Résultat : demande de contrôle judiciaire accueillie Déposé(e) (s) le 6-OCT-2011", "judgment final judge=Pasréel outcome=granted about=judicial_review on=2011-10-06"},
		{"decision set aside", "(Final decision) Order rendered by The Honourable Mr. Justice Inkwell at Vancouver on 26-NOV-2014 The decision under review is set aside and the matter is referred back to another officer. There is no question to certify. Decision filed on 26-NOV-2014", "order final judge=Inkwell outcome=granted about=judicial_review,set_aside on=2014-11-26"},
		{"quashing", "(Final decision) Order rendered by The Honourable Mr. Justice Inkwell at Ottawa on 30-NOV-2011 quashing the decision of the officer; returning the matter for redetermination. Decision filed on 30-NOV-2011", "order final judge=Inkwell outcome=granted about=judicial_review,set_aside on=2011-11-30"},
		{"judge not named", "(Final decision) Reasons and Judgment dated 03-OCT-2018 rendered by the Presiding Judge considered with personal appearance The Court's decision is with regard to Judicial Review Result: granted Filed on 03-OCT-2018", "judgment final outcome=granted about=judicial_review on=2018-10-03"},
		{"judgment of the simulator", "Judgment and Reasons dated 02-Jan-2025 rendered by The Honourable Justice Wigsworth Matter considered with personal appearance The Court's decision is with regard to the application Result: allowed; the matter is referred back Filed on 02-Jan-2025 Final Decision", "judgment final judge=Wigsworth outcome=granted about=judicial_review on=2025-01-02"},

		// Motions decided.
		{"motion with number", "Order rendered by The Honourable Mr. Justice Inkwell at Toronto on 23-JAN-2006 dismissing the motion to stay the execution of a Removal Order scheduled for 25-JAN-2006. (Motion Doc. No. 5 ) Decision filed on 23-JAN-2006", "order judge=Inkwell outcome=dismissed about=motion,stay_of_removal motion=5 on=2006-01-23"},
		{"French motion", "Ordonnance en date du 28-AVR-2006 rendu(e) par Monsieur le juge Pasréel Affaire considérée avec comparution en personne La décision de la Cour est concernant (le/la/l') la requête doc. no 3 Résultat : affaire rejetée Déposé(e) (s) le 28-AVR-2006 Décision interlocutoire", "order judge=Pasréel outcome=dismissed about=motion motion=3 on=2006-04-28"},
		{"several orders", "Order rendered by The Honourable Mr. Justice Inkwell at Ottawa on 26-FEB-2016 1. The motion to extend the time to bring this motion is granted. 2. The motion for an order setting aside the dismissal of the application is dismissed. Decision filed on 26-FEB-2016", "order judge=Inkwell outcome=granted about=extension_of_time,motion,set_aside on=2016-02-26"},
		{"motion to set aside an order granting leave", "Order rendered by The Honourable Mr. Justice Inkwell at Ottawa on 4-MAY-2017 dismissing the motion to set aside the order granting leave (Motion Doc. No. 8) Decision filed on 4-MAY-2017", "order judge=Inkwell outcome=dismissed about=motion,set_aside motion=8 on=2017-05-04"},
		{"order that cites another judge", "Order rendered by The Honourable Madam Justice Quillfeather at Ottawa on 20-OCT-2006 granting the motion of the Respondent to amend term 4 of the Order of Mr. Justice O'Madeup dated October 18, 2006 Decision filed on 20-OCT-2006", "order judge=Quillfeather outcome=granted about=motion on=2006-10-20"},
		{"condition is no decision", "Order rendered by The Honourable Mr. Justice Inkwell at Ottawa on 2-DEC-2019 These files are held in abeyance; if leave to appeal is granted by the Supreme Court, the parties will inform the Registry Decision filed on 2-DEC-2019", "order judge=Inkwell outcome=other about=abeyance on=2019-12-02"},
		{"not granted", "Order dated 5-JUN-2018 rendered by The Honourable Mr. Justice Inkwell Matter considered without personal appearance The Court's decision is with regard to Motion in writing Doc. No. 9 Result: The request is not granted. Filed on 5-JUN-2018", "order judge=Inkwell outcome=dismissed about=motion motion=9 on=2018-06-05"},
		{"removal stayed", "Order rendered by The Honourable Mr. Justice Inkwell at Ottawa on 6-FEB-2007 (1) Removal of the Applicant from Canada is stayed until 72 hours after a decision is served. Decision filed on 7-FEB-2007", "order judge=Inkwell outcome=granted about=stay_of_removal on=2007-02-06"},
		{"stay of release", "Order rendered by The Honourable Mr. Justice Inkwell at Ottawa on 23-DEC-2015 granting the stay of execution of release from detention Decision filed on 23-DEC-2015", "order judge=Inkwell outcome=granted about=stay_of_release on=2015-12-23"},
		{"stay of removal of a detained person", "Order rendered by The Honourable Mr. Justice Inkwell at Ottawa on 23-DEC-2015 dismissing the motion for a stay of the removal of the Applicant who is in detention Decision filed on 23-DEC-2015", "order judge=Inkwell outcome=dismissed about=motion,stay_of_removal on=2015-12-23"},
		{"matter referred back", "(Final decision) Judgment rendered by The Honourable Mr. Justice Inkwell at Ottawa on 23-DEC-2015 The matter is referred back to a differently constituted panel for redetermination. Decision filed on 23-DEC-2015", "judgment final judge=Inkwell outcome=granted about=judicial_review on=2015-12-23"},
		{"motion of a party by its number", "Order rendered by The Honourable Mr. Justice Inkwell at Ottawa on 23-DEC-2015 granting the motion on behalf of the Respondent dated 12-DEC-2015 (Doc. No. 14) Decision filed on 23-DEC-2015", "order judge=Inkwell outcome=granted about=motion motion=14 on=2015-12-23"},
		{"order by a judge", "Order dated 23-DEC-2015 by Madam Justice Quillfeather dismissing the motion (doc. #3)",
			"order judge=Quillfeather outcome=dismissed about=motion motion=3 on=2015-12-23"},
		{"stay in French", "Ordonnance rendu(e) par Monsieur le juge Parchemin à Montréal le 29-MAR-2010 accordant la demande de sursis d'exécution Décision déposée le 29-MAR-2010", "order judge=Parchemin outcome=granted about=stay_of_removal on=2010-03-29"},
		{"release suspended in French", "Ordonnance rendu(e) par Monsieur le juge Parchemin à Ottawa le 10-MAI-2011 La Cour ordonne que la décision de libérer la défenderesse soit suspendue. Décision déposée le 10-MAI-2011", "order judge=Parchemin outcome=granted about=stay_of_release on=2011-05-10"},
		{"adjourned motion", "Order rendered by The Honourable Mr. Justice Inkwell at Ottawa on 11-JAN-2022 adjourning the motion for a stay of removal sine die Decision filed on 11-JAN-2022", "order judge=Inkwell outcome=other about=adjournment on=2022-01-11"},
		{"amended order", "Amended Order rendered by The Honourable Madam Justice Quillfeather at Toronto on 1-APR-2019 granting the stay of execution Decision filed on 1-APR-2019", "order judge=Quillfeather outcome=granted about=stay_of_removal on=2019-04-01"},
		{"timetable only", "Order rendered by The Honourable Mr. Justice Inkwell at St. John's on 13-NOV-2019 specifying documents to be produced and/or filed as follows: Tribunal shall send certified copies of its record within twenty-one days. Decision filed on 13-NOV-2019", "order judge=Inkwell outcome=other about=tribunal_record on=2019-11-13"},
		{"copy from another file", "Copy of Order dated 16-MAY-2008 rendered by The Honourable Mr. Justice O'Madeup concerning Applicant's Motion Doc 3 placed on file. Original filed on Court File No. IMM-9-08", "order judge=O'Madeup outcome=other about=motion motion=3 on=2008-05-16"},

		// Judges and officers.
		{"initial", "Ordonnance rendu(e) par Monsieur le juge S. Fabulé à Ottawa le 4-MAI-2015 rejetant la demande de sursis d'exécution Décision déposée le 4-MAI-2015", "order judge=S. Fabulé outcome=dismissed about=stay_of_removal on=2015-05-04"},
		{"deputy judge", "Order rendered by The Honourable Otto M. Nullmann, Deputy Judge at Ottawa on 10-AUG-2009 adjourning the hearing to a Special Sitting at Toronto on 30-SEP-2009 Decision filed on 10-AUG-2009", "order judge=Otto M. Nullmann outcome=other about=adjournment on=2009-08-10"},
		{"deputy judge in French", "Jugement rendu par l'honorable Otto Nullmann, juge suppléant, à Québec le 1er février 2016 rejetant la demande de contrôle judiciaire Décision déposée le 2 février 2016", "judgment judge=Otto Nullmann outcome=dismissed about=judicial_review on=2016-02-01"},
		{"deputy title first", "Jugement rendu par Monsieur le juge suppléant Nullmann à Québec le 1er février 2016 accueillant la demande de contrôle judiciaire", "judgment judge=Nullmann outcome=granted about=judicial_review on=2016-02-01"},
		{"chief justice in French", "Jugement rendu(e) par Juge en chef adjointe Fabulé à Ottawa le 13-FEV-2020 rejetant la demande de contrôle judiciaire Décision déposée le 13-FEV-2020", "judgment judge=Fabulé outcome=dismissed about=judicial_review on=2020-02-13"},
		{"chief justice", "Order (time and place) dated 09-MAR-2020 rendered by Chief Justice Inkwell and signed by Judicial Administrator fixing Judicial Review to be heard at Special Sitting in Toronto on 01-APR-2020 to begin at 09:30 Filed on 09-MAR-2020", "order judge=Inkwell outcome=other about=scheduling on=2020-03-09"},
		{"given name", "Toronto 17-DEC-2018 BEFORE The Honourable Mr. Justice Ferdinando Specimen Language: E Before the Court: Judicial Review Result of Hearing: Matter reserved held in Court Senior Usher: [name] Duration per day: 17-DEC-2018 from 12:58 to 14:08", "hearing judge=Ferdinando Specimen outcome=other about=judicial_review on=2018-12-17"},
		{"all upper case", "ORDER RENDERED BY THE HONOURABLE MR. JUSTICE O'MADEUP AT TORONTO ON 20-MAY-2015 DISMISSING THE STAY OF EXECUTION DECISION FILED ON 20-MAY-2015", "order judge=O'Madeup outcome=dismissed about=stay_of_removal on=2015-05-20"},
		{"all lower case", "order rendered by the honourable mr. justice inkwell at toronto on may 20, 2015 dismissing the stay of execution decision filed on may 20, 2015", "order judge=Inkwell outcome=dismissed about=stay_of_removal on=2015-05-20"},
		{"prothonotary", "Order rendered by Primrose Whatsit, Esq., Prothonotary at Toronto on 01-FEB-2007 dismissing the motion for an extension of time (Motion Doc. No. 4 ) Decision filed on 01-FEB-2007", "order officer=Primrose Whatsit outcome=dismissed about=extension_of_time,motion motion=4 on=2007-02-01"},
		{"prothonotary, title first", "Order dated 16-MAY-2018 rendered by Prothonotary Whatsit Matter considered without personal appearance The Court's decision is with regard to Letter from Respondent dated 01-MAY-2018 Result: This application will be held in abeyance Filed on 16-MAY-2018", "order officer=Whatsit outcome=other about=abeyance on=2018-05-16"},
		{"day before the name", "Amended Order rendered on 16-MAY-2018 by Primrose Whatsit, Prothonotary amending the timetable filed on 16-MAY-2018", "order officer=Primrose Whatsit outcome=other on=2018-05-16"},
		{"associate judge", "Order rendered by Associate Judge Basilio Testwell at Ottawa on 2023-02-03 granting the extension of time Decision filed on 2023-02-03", "order officer=Basilio Testwell outcome=granted about=extension_of_time on=2023-02-03"},
		{"associate judge in French", "Ordonnance rendue par Madame la juge adjointe Modèle-Type à Montréal le 3 août 2023 accordant la prorogation du délai Décision déposée le 3 août 2023", "order officer=Modèle-Type outcome=granted about=extension_of_time on=2023-08-03"},
		{"case management judge", "Order rendered by Case Management Judge Kasimira Unrealová at Ottawa on 5-MAY-2022 fixing the timetable Decision filed on 5-MAY-2022", "order officer=Kasimira Unrealová outcome=other about=case_management on=2022-05-05"},
		{"administrator is neither", "Order rendered by G. Placeholdt, Judicial Administrator at Ottawa on 03-NOV-2011 adjourning the hearing to a Special Sitting at Toronto on 14-FEB-2012 Decision filed on 03-NOV-2011", "order outcome=other about=adjournment on=2011-11-03"},
		{"oral directions", "Oral directions received from the Court: The Honourable Justice Gavelstone dated 5-JUN-2024 directing that the hearing be held by video conference placed on file on 5-JUN-2024", "other judge=Gavelstone"},
		{"French directions", "Directives verbales reçues de la Cour : l'honorable juge Parchemin en date du 5 juin 2024 ordonnant que l'audience se tienne par vidéoconférence", "other judge=Parchemin"},

		// Hearings.
		{"hearing dismissed", "Toronto 11-OCT-2006 BEFORE The Honourable Mr. Justice von Erdacht Language: E Before the Court: Judicial Review Result of Hearing: Matter dismissed held in Court Senior Usher: [name]", "hearing judge=von Erdacht outcome=dismissed about=judicial_review on=2006-10-11"},
		{"French hearing reserved", "Montréal 10-AOU-2004 En pr\u00e9sence de Monsieur le juge Parchemin Langue : F Matière en litige : Contrôle Judiciaire de la décision rendue le 3 mai 2003 par un commissaire qui refusait la demande Résultat de l'audition : affaire prise en délibéré L'audition a eu lieu en cour Durée de chaque jour : 10-AOU-2004 de 11:00 à 11:50", "hearing judge=Parchemin outcome=other about=judicial_review on=2004-08-10"},
		{"hearing of a motion", "Ottawa 10-JAN-2012 BEFORE The Honourable Madam Justice Quillfeather Language: E Before the Court: Motion Doc. No. 4 on behalf of Applicant for a stay of removal Result of Hearing: Matter reserved held by way of Conference Call in chambers", "hearing judge=Quillfeather outcome=other about=motion,stay_of_removal motion=4 on=2012-01-10"},

		// Filed documents.
		{"notice of a stay motion", "Notice of Motion contained within a Motion Record on behalf of Applicant returnable at General Sitting in Toronto on 05-NOV-2007 to begin at 09:30 duration: 1h language: E for a stay of execution of the removal order scheduled for 08-NOV-2007 filed on 31-OCT-2007", "motion about=motion,stay_of_removal"},
		{"stay without an object", "Notice of Motion on behalf of Applicant for an Order for an urgent stay filed on 10-MAY-2021", "motion about=motion,stay_of_removal"},
		{"stay of release", "Notice of Motion on behalf of Applicant returnable at General Sitting in Vancouver on 12-DEC-2017 for a stay of execution of of release from detention filed on 05-DEC-2017", "motion about=motion,stay_of_release"},
		{"injunction", "Notice of Motion on behalf of Applicant for an interlocutory injunction prohibiting the Minister from removing the Applicant filed on 10-MAY-2021", "motion about=motion,stay_of_removal"},
		{"French stay of deportation", "Avis de requête de la part du demandeur pour surseoir à l'exécution de l'ordonnance d'expulsion, le demandeur étant en détention déposé(e) le 10-MAI-2021", "motion about=motion,stay_of_removal"},
		{"stay of something else", "Notice of Motion on behalf of Applicant for an Order staying the interim suspension of the applicant's licence filed on 25-SEP-2019", "motion about=motion"},
		{"stay of a pre-removal assessment", "Notice of Motion on behalf of Applicant for an Order staying the pre-removal risk assessment filed on 25-SEP-2019", "motion about=motion"},
		{"French stay", "Avis de requête qui se trouve dans le dossier de requête de la part de la partie demanderesse présentable (sans date d'audition indiquée) pour sursis d'exécution de la mesure de renvoi déposé(e) le 07-MAR-2011", "motion about=motion,stay_of_removal"},
		{"motion that cites a judge", "Notice of Motion on behalf of Applicant in writing for reconsideration of the decision of Inkwell J. dismissing the Application for Leave filed on 07-JUL-2008", "motion about=motion,reconsideration"},
		{"letter about leave", "Letter from Respondent's Counsel dated 24-AUG-2018 noting the Respondent takes no position should leave be granted received on 24-AUG-2018", "letter"},
		{"discontinuance", "Notice of discontinuance on behalf of Applicant filed on 2-MAY-2020", "discontinuance"},
		{"French discontinuance", "Avis de désistement au nom du demandeur déposé le 2 mai 2020", "discontinuance"},
		{"opening", "Application for leave and judicial review against a decision of a visa officer filed on 2-MAY-2020", "application_for_leave about=judicial_review,leave"},
		{"appearance", "Avis de comparution au nom du défendeur déposé le 2 mai 2020", "notice_of_appearance"},
		{"record", "Applicant's Record, number of copies received: 2, on behalf of Applicant filed on 2-MAY-2020",
			"record"},
		{"affidavit about an order", "Affidavit of Primrose Whatsit sworn on 2-MAY-2020 with the order of Justice Inkwell granting leave filed on 3-MAY-2020", "affidavit"},
		{"memorandum to file", "Memorandum to file from Primrose Whatsit dated 2-MAY-2020 placed on file.", "other"},
		{"Rule 9 request", "Request for written reasons under Rule 9 sent to the Immigration Section of the High Commission on 2-MAY-2020", "rule9_request"},
		{"Rule 9 answer", "Decision and written reasons under Rule 9 received on 9-JUN-2020", "rule9_record"},
		{"nothing", "", "other"},
	} {
		if got := said(reader.Of(recordOf(test.text)).EntryFacts[0]); got != test.want {
			t.Errorf("%s:\n got %s\nwant %s\n in %s", test.name, got, test.want, test.text)
		}
	}
}
