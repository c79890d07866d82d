//! One instance of the engine, wired to the simulated outside.

use std::sync::Arc;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use untoil_actions::{Catalogue, Eyes, Hands};
use untoil_clock::{Clock, VirtualClock};
use untoil_dispatcher::{Bell, Book, Dispatcher, Rules, Tools};
use untoil_guard::{Guard, Policy};
use untoil_journal::{Batch, Journal, Roster};
use untoil_model::{Actor, Body, Draft, EngineMode, Hash};
use untoil_notifier::{Language, Notifier, NotifierConfig, Voice};
use untoil_runner::Runner;

use crate::chat::{Channel, FarChat};
use crate::clock::LocalClock;
use crate::dice::Dice;
use crate::disk::Disk;
use crate::journal::FarJournal;
use crate::mutation::Mutation;
use crate::network::{Line, Network};
use crate::ports::Ports;
use crate::rules::Stale;
use crate::switch::{Power, Switch};
use crate::trace::Trace;
use crate::weather::Weather;

/// What all instances of a seed share.
#[derive(Debug)]
pub(crate) struct Common {
    pub(crate) clock: Arc<VirtualClock>,
    pub(crate) disk: Arc<Disk>,
    pub(crate) power: Arc<Power>,
    pub(crate) weather: Arc<Weather>,
    pub(crate) network: Arc<Network>,
    pub(crate) channel: Arc<Channel>,
    pub(crate) trace: Arc<Trace>,
    pub(crate) deaths: Arc<tokio::sync::Notify>,
    pub(crate) book: Book,
    pub(crate) catalogue: Arc<Catalogue>,
    pub(crate) policy: Policy,
    pub(crate) mode: EngineMode,
    pub(crate) eyes: Eyes,
    pub(crate) hands: Hands,
    pub(crate) mutation: Option<Mutation>,
}

/// How senders and people reach an instance.
#[derive(Debug, Clone)]
pub(crate) struct Door {
    pub(crate) switch: Arc<Switch>,
    pub(crate) journal: Arc<FarJournal>,
    pub(crate) clock: Arc<LocalClock>,
    pub(crate) guard: Arc<Guard>,
    pub(crate) bell: Bell,
}

/// A running instance.
#[derive(Debug)]
pub(crate) struct Instance {
    pub(crate) door: Door,
    pub(crate) stop: CancellationToken,
    /// Its tasks; dropping them is what `kill -9` does.
    pub(crate) tasks: JoinSet<()>,
}

impl Instance {
    /// Starts one under a name of its own.
    pub(crate) fn start(common: &Common, name: &str, dice: &Dice) -> Self {
        let switch = Arc::new(Switch::new(
            name,
            dice.fork(),
            (Arc::clone(&common.weather), Arc::clone(&common.trace)),
            Arc::clone(&common.clock),
            (Arc::clone(&common.deaths), Arc::clone(&common.power)),
        ));
        let clock = Arc::new(LocalClock::new(Arc::clone(&common.clock), Arc::clone(&switch)));
        let journal = Arc::new(FarJournal::new(
            Arc::clone(&common.disk),
            Arc::clone(&switch),
            Arc::clone(&common.weather),
            (dice.fork(), Arc::clone(&common.clock)),
            common.mutation,
        ));
        let line = Line {
            switch: Arc::clone(&switch),
            weather: Arc::clone(&common.weather),
            dice: dice.fork(),
            clock: Arc::clone(&common.clock),
            local: Arc::clone(&clock),
            network: Arc::clone(&common.network),
            disk: Arc::clone(&common.disk),
            tenure: journal.true_tenure(),
            mutation: common.mutation,
        };
        let ports =
            Arc::new(Ports { line, eyes: common.eyes.clone(), hands: common.hands.clone() });
        let tools = tools(common, name, (&journal, &clock), &ports);
        let guard = Arc::clone(&tools.guard);
        let actor = tools.actor.clone();
        let dispatcher = Dispatcher::new(tools);
        let (bell, stop, mut tasks) = (dispatcher.bell(), CancellationToken::new(), JoinSet::new());
        let chat = Arc::new(FarChat {
            channel: Arc::clone(&common.channel),
            disk: Arc::clone(&common.disk),
            switch: Arc::clone(&switch),
            weather: Arc::clone(&common.weather),
            dice: dice.fork(),
            clock: Arc::clone(&common.clock),
            mutation: common.mutation,
        });
        let config = NotifierConfig::new("C0SIMULATED", Voice::of(Language::En));
        let notifier =
            Notifier::new(Arc::clone(&journal) as _, chat, Arc::clone(&clock) as _, config)
                .sharing(Arc::clone(&journal) as _);
        let (began, mode) = (clock.now(), common.mode);
        let (writing, ending) = (Arc::clone(&journal), stop.clone());
        tasks.spawn(async move {
            let config = Hash::GENESIS;
            let started = Body::EngineStarted { version: "simulated".into(), mode, config };
            // As in the server: nothing is decided before the start stands in the journal.
            while writing
                .append(Batch::of(vec![Draft::new(began, actor.clone(), started.clone())]))
                .await
                .is_err()
            {
                tokio::task::yield_now().await;
            }
            if let Err(error) = dispatcher.run(ending).await {
                panic!("the dispatcher ended: {error}");
            }
        });
        tasks.spawn(notifier.run(stop.clone()));
        switch.note(|| "starts".into());
        Self { door: Door { switch, journal, clock, guard, bell }, stop, tasks }
    }

    /// Kills it. What was on its way to AWS arrives all the same.
    pub(crate) fn kill(&mut self) {
        self.door.switch.kill();
        self.tasks.abort_all();
    }
}

fn tools(
    common: &Common,
    name: &str,
    (journal, clock): (&Arc<FarJournal>, &Arc<LocalClock>),
    ports: &Arc<Ports>,
) -> Tools {
    let actor = Actor::Engine(name.to_owned());
    let roster: Arc<dyn Roster> = Arc::clone(journal) as _;
    let journal: Arc<dyn Journal> = Arc::clone(journal) as _;
    let clock: Arc<dyn Clock> = Arc::clone(clock) as _;
    let policy = common.policy.clone();
    let guard = Arc::new(Guard::new(Arc::clone(&journal), policy, common.mode, actor.clone()));
    let hands = (common.mode == EngineMode::Live).then(|| ports.hands());
    let catalogue = Arc::clone(&common.catalogue);
    let base = (Arc::clone(&journal), Arc::clone(&clock), actor.clone());
    let runner = Runner::new(base, Arc::clone(&guard), Arc::clone(&catalogue), ports.eyes(), hands);
    let rules: Arc<dyn Rules> = if common.mutation == Some(Mutation::MixesTexts) {
        Arc::new(Stale(common.book.clone()))
    } else {
        Arc::new(common.book.clone())
    };
    let (decoders, eyes) = (Arc::default(), ports.eyes());
    Tools { journal, roster, clock, actor, decoders, rules, catalogue, guard, eyes, runner }
}
