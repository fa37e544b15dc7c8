CREATE TABLE meta (
    key VARCHAR PRIMARY KEY,
    value VARCHAR NOT NULL
);

CREATE TABLE tasks (
    id VARCHAR PRIMARY KEY,
    name VARCHAR NOT NULL,
    "group" VARCHAR NOT NULL,
    type VARCHAR NOT NULL,
    n_rows BIGINT NOT NULL,
    n_features BIGINT NOT NULL,
    n_classes BIGINT NOT NULL,
    source VARCHAR NOT NULL,
    licence VARCHAR NOT NULL,
    metafeatures MAP(VARCHAR, DOUBLE) NOT NULL,
    metafeatures_version INTEGER NOT NULL
);

-- No foreign key to tasks: a trial may arrive, from a journal or a merge, before the description of its task.
CREATE TABLE trials (
    id VARCHAR PRIMARY KEY,
    task VARCHAR NOT NULL,
    learner VARCHAR NOT NULL,
    configuration JSON NOT NULL,
    configuration_id VARCHAR NOT NULL,
    folds INTEGER NOT NULL,
    repeats INTEGER NOT NULL,
    seed BIGINT NOT NULL,
    max_rows BIGINT NOT NULL,
    n_rows BIGINT NOT NULL,
    state VARCHAR NOT NULL,
    reason VARCHAR NOT NULL,
    origin VARCHAR NOT NULL,
    fold_losses MAP(VARCHAR, DOUBLE[]) NOT NULL,
    curve_checkpoints INTEGER[] NOT NULL,
    curve_losses MAP(VARCHAR, DOUBLE[]) NOT NULL,
    fit_seconds DOUBLE NOT NULL,
    predict_seconds DOUBLE NOT NULL,
    space_version INTEGER NOT NULL,
    versions JSON NOT NULL,
    device VARCHAR NOT NULL
);

CREATE TABLE segments (
    name VARCHAR PRIMARY KEY
);

-- The sum of the ids of all trials and tasks, kept with every insert: the content hash costs one look-up.
INSERT INTO meta VALUES ('content', '0');
