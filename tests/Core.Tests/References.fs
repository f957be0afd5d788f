/// That no reference value lies about unused without saying so.
module References

open Expecto
open Laws

let tests =
    testList "References" [
        test "every reference case is of something that is tested here, or waits for it" (fun () ->
            let tested = [
                "attack acl.pgd"
                "ball_projection"
                "fgsm"
                "loss"
                "loss acl.ds"
                "loss advcl.base"
                "loss ainfonce.advcl.hn"
                "loss ainfonce.advcl.ip"
                "loss ainfonce.advcl.ip-hn"
                "loss ainfonce.advcl.no-ip"
                "loss ainfonce.rocl.hn"
                "loss ainfonce.rocl.ip"
                "loss ainfonce.rocl.ip-hn"
                "loss clead.one-sided"
                "loss clead.two-attacks"
                "loss npair.plain"
                "loss ntxent.acl"
                "loss ntxent.clae"
                "loss rocl.base"
                "loss rocl.pair"
                "loss spread.uel"
                "optimiser lars.acl"
                "pgd"
            ]

            let waiting = [
                "apgd"
                "apgd_l1"
                "apgd_schedule"
                "attack clae.fgsm.plain"
                "attack clae.fgsm.simclr"
                "attack clae.fgsm.uel"
                "attack deacl.pgd"
                "attack mart.attack"
                "attack rocl.pgd"
                "attack trades.attack"
                "cw_l2"
                "fab"
                "hyperplane_projection"
                "loss air"
                "loss deacl"
                "loss dynacl"
                "loss mart"
                "loss trades"
                "mart"
                "mi_fgsm"
                "optimiser lars.solo"
                "square_bump"
                "square_schedule"
                "trades"
            ]

            Expect.equal
                (Reference.subjects ())
                (List.sort (tested @ waiting))
                "subjects of the reference files")
    ]
