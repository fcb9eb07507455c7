//! What is put in force in a test: plans with doubles in the place of executors, over an engine of its own.

use std::sync::Arc;

use indexmap::IndexMap;

use super::{Halt, World};
use crate::bus::Bus;
use crate::clock::SeededRandom;
use crate::engine::{Engine, Ports};
use crate::model::bundle::Bundle;
use crate::model::diagnostic::Place;
use crate::model::event::Scope;
use crate::model::failure::Failure;
use crate::model::id::{Digest, EventType, PipelineName};
use crate::model::port::{Clock, Executor, Random, Sink, Store};
use crate::model::types::Type;
use crate::model::value::Value;
use crate::plan::cases::Deed;
use crate::plan::pipeline::{Pipeline, Plan, StateSettings};
use crate::plan::{Bound, Install, codes};
use crate::policy::Policies;
use crate::testing::cliff::{Cliff, SeenStore};
use crate::testing::double::{Double, Otherwise, Stage};
use crate::testing::real::{OwnRegistry, reaches_outside, works_on_its_host};

/// A host: an engine over the test's store, with buses and policies of its own.
pub(super) fn host(stage: &Stage, random: &Arc<SeededRandom>, store: Arc<dyn Store>, cliff: &Arc<Cliff>) -> Engine {
    let clock: Arc<dyn Clock> = Arc::new(stage.clock.clone());
    let (sink, activity) = (Arc::clone(&stage.witness) as Arc<dyn Sink>, stage.activity.clone());
    let bus = Bus::counted_by(Arc::clone(&clock), Arc::clone(&sink), activity.clone());
    let store = SeenStore { store, witness: Arc::clone(&stage.witness), activity: activity.clone(), cliff: Arc::clone(cliff) };
    Engine::new(Ports {
        store: Arc::new(store) as Arc<dyn Store>,
        clock: Arc::clone(&clock),
        random: Arc::clone(random) as Arc<dyn Random>,
        sink: Arc::clone(&sink),
        policies: Policies::counted_by(clock, sink, activity.clone()),
        bus,
        activity,
    })
}

impl World<'_> {
    /// Puts a plan in force, with doubles in the place of its executors.
    pub(super) async fn install(&mut self, plan: Plan, place: &Place) -> Result<(), Halt> {
        let mut bounds = Vec::new();
        for pipeline in plan.pipelines.values() {
            let pipeline = self.with_state(pipeline);
            let executors = self.doubles(&pipeline, place).await?;
            self.pipelines.push(Arc::clone(&pipeline));
            bounds.push(Arc::new(Bound { pipeline, executors }));
        }
        let ghosts = self.ghosts(&plan);
        bounds.extend(ghosts.into_iter().map(|pipeline| Arc::new(Bound { pipeline: Arc::new(pipeline), executors: Vec::new() })));
        self.plan = plan;
        self.engine.install(bounds);
        Ok(())
    }

    /// Stand-ins for pipelines that the test emits events of and that are not there: all they have is these events, on the global bus.
    fn ghosts(&self, plan: &Plan) -> Vec<Pipeline> {
        let mut ghosts: IndexMap<PipelineName, IndexMap<EventType, Type>> = IndexMap::new();
        for action in &self.stage.case.case().actions {
            if let Deed::Emit { from: Some(from), events, .. } = &action.deed
                && !plan.pipelines.contains_key(from)
            {
                let types = events.iter().map(|(event_type, _)| (event_type.clone(), Type::Any));
                ghosts.entry(from.clone()).or_default().extend(types);
            }
        }
        let ghost = |(name, events): (PipelineName, IndexMap<EventType, Type>)| Pipeline {
            revision: Digest::of(name.as_str().as_bytes()),
            bundle: Bundle::of_nothing(name.clone(), Digest::of(name.as_str().as_bytes())),
            name,
            description: None,
            file: self.stage.case.pipeline.file.clone(),
            files: Vec::new(),
            scope: Scope::Global,
            exports: Vec::new(),
            events,
            resources: Arc::from([]),
            executors: Vec::new(),
            state: StateSettings::default(),
            environment: Value::null(),
            secrets: Value::null(),
            flows: Vec::new(),
            caches: Vec::new(),
            tests: Arc::from([]),
        };
        ghosts.into_iter().map(ghost).collect()
    }

    /// The pipeline with the state that the test begins with.
    fn with_state(&self, pipeline: &Arc<Pipeline>) -> Arc<Pipeline> {
        let given = &self.stage.case.case().state;
        if given.is_empty() || pipeline.name != self.stage.case.pipeline.name {
            return Arc::clone(pipeline);
        }
        let mut initial = pipeline.state.initial.clone();
        for (field, value) in given {
            if let Some(field) = initial.get_mut(field) {
                field.clone_from(value);
            }
        }
        let state = StateSettings { initial, ..pipeline.state.clone() };
        Arc::new(Pipeline { state, ..(**pipeline).clone() })
    }

    async fn doubles(&mut self, pipeline: &Pipeline, place: &Place) -> Result<Vec<Arc<dyn Executor>>, Halt> {
        let is_own = pipeline.name == self.stage.case.pipeline.name;
        let mut executors: Vec<Arc<dyn Executor>> = Vec::new();
        for (number, declared) in pipeline.executors.iter().enumerate() {
            let reference = &declared.reference;
            let is_real = is_own && self.stage.case.case().real.contains(&reference.name);
            let is_mocked = self.stage.is_mocked(&pipeline.name, number, &reference.name);
            let otherwise = if is_mocked && !is_real {
                Otherwise::Refused("it is mocked".to_owned())
            } else if is_real || works_on_its_host(reference) {
                let opened = match self.own_registry() {
                    Ok(registry) => registry.open(reference).await.map_err(|problem| problem.message),
                    Err(failure) => Err(failure.into_particulars().message),
                };
                Otherwise::Real(opened.map_err(|why| self.cannot_open(place, reference.name.as_str(), &why))?)
            } else if let Some(why) = reaches_outside(reference) {
                Otherwise::Refused(why)
            } else {
                let opened = self.pure.open(reference).await;
                Otherwise::Real(opened.map_err(|problem| self.cannot_open(place, reference.name.as_str(), &problem.message))?)
            };
            executors.push(Arc::new(Double {
                description: declared.description.clone(),
                number,
                name: reference.name.clone(),
                place: declared.place.clone(),
                otherwise,
                stage: Arc::clone(&self.stage),
            }));
        }
        Ok(executors)
    }

    fn cannot_open(&mut self, place: &Place, name: &str, why: &str) -> Halt {
        let message = format!("`{name}` cannot be opened: {why}");
        self.mistake(codes::CANNOT_OPEN, place, message, "put right what it needs, or stand in for it under `mocks`")
    }

    fn own_registry(&mut self) -> Result<&OwnRegistry, Failure> {
        let registry = match self.own.take() {
            Some(registry) => registry,
            None => {
                let clock = Arc::new(self.stage.clock.clone()) as Arc<dyn Clock>;
                let sink = Arc::clone(&self.stage.witness) as Arc<dyn Sink>;
                OwnRegistry::new(&self.prepared.compiled, &self.prepared.environment, clock, sink)?
            }
        };
        // The host may be another one than when the registry was made.
        registry.connect(&self.engine.caches());
        Ok(self.own.insert(registry))
    }
}
